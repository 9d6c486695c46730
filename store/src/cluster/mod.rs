//! Who owns what, and what this node tells about it.

pub mod gate;
pub mod identity;
pub mod map;
pub mod view;
