use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

#[test]
fn classes_hold_their_sizes_with_little_waste() {
    for size in 1..=SIZE_MAX {
        let bytes = class_bytes(class_of(size));
        assert!(bytes >= size, "{size} bytes in a slot of {bytes}");
        assert!(bytes <= SIZE_MIN.max(size + 31), "{size} bytes in a slot of {bytes}");
        assert_eq!(class_of(bytes), class_of(size));
    }
    assert_eq!(class_of(SIZE_MAX), CLASSES - 1);
    assert_eq!(class_bytes(class_of(88)), 88);
}

#[test]
fn pages_are_given_back_when_empty_but_the_last() {
    let mut slab = Slab::default();
    let per_page = PAGE_BYTES / 88;
    let handles: Vec<_> = (0..per_page * 5).map(|_| slab.allocate(88).unwrap()).collect();
    assert_eq!(slab.pages_held, 5);
    for handle in &handles {
        slab.free(*handle);
    }
    assert_eq!((slab.pages_held, slab.bytes_live()), (1, 0));
    // Numbers of pages given back are used again.
    for _ in 0..per_page * 3 {
        slab.allocate(88).unwrap();
    }
    assert_eq!((slab.pages_held, slab.pages.len()), (3, 5));
}

#[test]
fn a_handle_that_names_nothing_is_harmless() {
    let mut slab = Slab::default();
    let handle = slab.allocate(100).unwrap();
    assert_eq!(slab.bytes(Handle(u32::MAX)), b"");
    assert_eq!(slab.bytes_mut(Handle(handle.0 | SLOT_MASK)), b"");
    slab.free(Handle(u32::MAX));
    slab.free(Handle(handle.0 | SLOT_MASK));
    assert_eq!(slab.bytes_live(), 104);
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(usize),
    Free(usize),
}

proptest! {
    // Slots in use never overlap and keep what was written to them, whatever is freed around them.
    #[test]
    fn slots_keep_what_they_hold(steps in proptest::collection::vec(prop_oneof![
        3 => (1usize..=SIZE_MAX).prop_map(Step::Allocate),
        2 => any::<usize>().prop_map(Step::Free),
    ], 1..600)) {
        let mut slab = Slab::default();
        let mut held: Vec<Handle> = Vec::new();
        let mut wanted: HashMap<u32, Vec<u8>> = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Allocate(size) => {
                    let handle = slab.allocate(size).unwrap();
                    let bytes: Vec<u8> = (0..size).map(|place| (place * 7 + number) as u8).collect();
                    slab.bytes_mut(handle)[..size].copy_from_slice(&bytes);
                    prop_assert!(wanted.insert(handle.0, bytes).is_none(), "a slot in use was handed out");
                    held.push(handle);
                }
                Step::Free(pick) if !held.is_empty() => {
                    let handle = held.swap_remove(pick % held.len());
                    slab.free(handle);
                    wanted.remove(&handle.0);
                }
                Step::Free(_) => {}
            }
        }
        for (handle, bytes) in &wanted {
            prop_assert_eq!(&slab.bytes(Handle(*handle))[..bytes.len()], &bytes[..]);
        }
        let live: usize = wanted.values().map(|bytes| class_bytes(class_of(bytes.len()))).sum();
        prop_assert_eq!(slab.bytes_live(), live);
    }
}
