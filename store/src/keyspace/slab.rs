//! Where entries live: slots of a few dozen sizes, cut from 64 KiB pages.
//!
//! A general allocator rounds an 88-byte entry up to 96, keeps its pages apart by its own rules, and
//! hands out eight-byte pointers. Here a size is rounded up by at most seven bytes (where it is
//! small), a slot is named by four bytes, and growing never moves anything: a new page is added.
//! A page that holds nothing any more is given back, unless it is the last of its size.
//!
//! ```text
//! handle = page number (20 bits) << 12 | slot within the page (12 bits)
//! page   = | slot 0 | slot 1 | ... | slot n-1 | rest |     every slot of one page has one size
//! ```
//!
//! It refuses sizes above [`SIZE_MAX`]: such values live elsewhere and leave an index here.

use std::fmt;

/// Bytes in a page.
pub const PAGE_BYTES: usize = 64 * 1024;
/// The largest slot.
pub const SIZE_MAX: usize = 1024;

const SLOT_BITS: u32 = 12;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const PAGES_MAX: usize = 1 << (32 - SLOT_BITS);
const SIZE_MIN: usize = 16;
/// 16 to 256 in steps of 8, to 512 in steps of 16, to 1024 in steps of 32.
const CLASSES: usize = 31 + 16 + 16;
/// Ends a list of free slots.
const NO_SLOT: u16 = u16::MAX;
/// Ends a list of pages.
const NO_PAGE: u32 = u32::MAX;

const _: () = assert!(PAGE_BYTES / SIZE_MIN <= 1 << SLOT_BITS);

/// Names a slot. Means nothing once the slot has been freed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u32);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> SLOT_BITS, self.0 & SLOT_MASK)
    }
}

impl Handle {
    #[inline]
    fn page(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    #[inline]
    fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }
}

/// The class of a size, which must be at most [`SIZE_MAX`].
#[inline]
pub fn class_of(size: usize) -> usize {
    if size <= 256 {
        size.max(SIZE_MIN).div_ceil(8) - 2
    } else if size <= 512 {
        31 + (size - 257) / 16
    } else {
        47 + (size - 513) / 32
    }
}

/// The bytes a slot of this class has.
#[inline]
pub fn class_bytes(class: usize) -> usize {
    if class < 31 {
        (class + 2) * 8
    } else if class < 47 {
        256 + (class - 30) * 16
    } else {
        512 + (class - 46) * 32
    }
}

#[derive(Debug, Default)]
struct Page {
    /// Empty when the page has been given back.
    bytes: Box<[u8]>,
    /// Bytes per slot.
    stride: u16,
    /// Slots in use.
    live: u16,
    /// Slots from here on have never been used.
    fresh: u16,
    /// The first freed slot; its first two bytes name the next one.
    free: u16,
    /// Neighbours in the list of pages of this class that have room. Pages without room are in none.
    previous: u32,
    next: u32,
}

impl Page {
    #[inline]
    fn capacity(&self) -> usize {
        PAGE_BYTES / usize::from(self.stride)
    }
}

/// All pages of a node. See the module.
#[derive(Debug)]
pub struct Slab {
    pages: Vec<Page>,
    /// Numbers of pages that have been given back.
    vacant: Vec<u32>,
    /// Per class: the first page with room.
    roomy: [u32; CLASSES],
    pages_held: usize,
    bytes_live: usize,
}

/// Every page number is taken: the node holds as much as its handles can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Default for Slab {
    fn default() -> Self {
        Slab {
            pages: Vec::new(),
            vacant: Vec::new(),
            roomy: [NO_PAGE; CLASSES],
            pages_held: 0,
            bytes_live: 0,
        }
    }
}

impl Slab {
    /// The bytes of a slot, all of it. Empty for a handle that names no page.
    #[inline]
    pub fn bytes(&self, handle: Handle) -> &[u8] {
        let Some(page) = self.pages.get(handle.page()) else { return &[] };
        let stride = usize::from(page.stride);
        let start = handle.slot() * stride;
        page.bytes.get(start..start + stride).unwrap_or_default()
    }

    /// As [`Self::bytes`], to be written.
    #[inline]
    pub fn bytes_mut(&mut self, handle: Handle) -> &mut [u8] {
        let Some(page) = self.pages.get_mut(handle.page()) else { return &mut [] };
        let stride = usize::from(page.stride);
        let start = handle.slot() * stride;
        page.bytes.get_mut(start..start + stride).unwrap_or_default()
    }

    /// The class of the slot that `handle` names.
    #[inline]
    pub fn class(&self, handle: Handle) -> usize {
        self.pages.get(handle.page()).map_or(0, |page| class_of(usize::from(page.stride)))
    }

    /// A slot of at least `size` bytes. What it holds is left over from before.
    #[inline]
    pub fn allocate(&mut self, size: usize) -> Result<Handle, Full> {
        debug_assert!(size <= SIZE_MAX);
        let class = class_of(size);
        let mut number = self.roomy[class];
        if number == NO_PAGE {
            number = self.add_page(class)?;
        }
        let page = &mut self.pages[number as usize];
        let stride = usize::from(page.stride);
        let slot = if page.free != NO_SLOT {
            let slot = page.free;
            let start = usize::from(slot) * stride;
            page.free = u16::from_le_bytes([page.bytes[start], page.bytes[start + 1]]);
            slot
        } else {
            page.fresh += 1;
            page.fresh - 1
        };
        page.live += 1;
        let full = usize::from(page.live) == page.capacity();
        self.bytes_live += stride;
        if full {
            self.unlist(number, class);
        }
        Ok(Handle(number << SLOT_BITS | u32::from(slot)))
    }

    /// Gives a slot back.
    #[inline]
    pub fn free(&mut self, handle: Handle) {
        let number = handle.page() as u32;
        let Some(page) = self.pages.get_mut(handle.page()) else { return };
        let stride = usize::from(page.stride);
        let start = handle.slot() * stride;
        if start + stride > page.bytes.len() || page.live == 0 {
            return;
        }
        let was_full = usize::from(page.live) == page.capacity();
        page.bytes[start..start + 2].copy_from_slice(&page.free.to_le_bytes());
        page.free = handle.slot() as u16;
        page.live -= 1;
        let empty = page.live == 0;
        self.bytes_live -= stride;
        let class = class_of(stride);
        if was_full {
            self.list(number, class);
        }
        if empty {
            self.release_page(number, class);
        }
    }

    /// Bytes of all pages held.
    pub fn bytes_held(&self) -> usize {
        self.pages_held * PAGE_BYTES + self.pages.capacity() * std::mem::size_of::<Page>()
    }

    /// Bytes of the slots in use.
    pub fn bytes_live(&self) -> usize {
        self.bytes_live
    }

    fn add_page(&mut self, class: usize) -> Result<u32, Full> {
        let page = Page {
            bytes: vec![0; PAGE_BYTES].into_boxed_slice(),
            stride: class_bytes(class) as u16,
            live: 0,
            fresh: 0,
            free: NO_SLOT,
            previous: NO_PAGE,
            next: NO_PAGE,
        };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.pages[number as usize] = page;
                number
            }
            None if self.pages.len() == PAGES_MAX => return Err(Full),
            None => {
                self.pages.push(page);
                self.pages.len() as u32 - 1
            }
        };
        self.pages_held += 1;
        self.list(number, class);
        Ok(number)
    }

    /// Gives an empty page back, unless no other page of its class has room: a node that adds and
    /// removes one key must not ask for a page each time.
    fn release_page(&mut self, number: u32, class: usize) {
        let page = &self.pages[number as usize];
        if page.previous == NO_PAGE && page.next == NO_PAGE {
            // Start afresh: slots in order again, and no list to walk.
            let page = &mut self.pages[number as usize];
            page.fresh = 0;
            page.free = NO_SLOT;
            return;
        }
        self.unlist(number, class);
        self.pages[number as usize] = Page::default();
        self.vacant.push(number);
        self.pages_held -= 1;
    }

    /// Puts a page at the head of its class's list.
    fn list(&mut self, number: u32, class: usize) {
        let head = self.roomy[class];
        if let Some(head) = self.pages.get_mut(head as usize) {
            head.previous = number;
        }
        let page = &mut self.pages[number as usize];
        page.previous = NO_PAGE;
        page.next = head;
        self.roomy[class] = number;
    }

    fn unlist(&mut self, number: u32, class: usize) {
        let page = &mut self.pages[number as usize];
        let (previous, next) = (page.previous, page.next);
        (page.previous, page.next) = (NO_PAGE, NO_PAGE);
        match self.pages.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.roomy[class] = next,
        }
        if let Some(next) = self.pages.get_mut(next as usize) {
            next.previous = previous;
        }
    }
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
