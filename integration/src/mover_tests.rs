use super::*;

#[test]
fn who_counts_moves_ends_when_the_mover_fails() {
    let moves = Moves::default();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _failed = NoMoreMoves(&moves);
        panic!("no slot can be moved");
    }));
    assert!(failed.is_err());
    assert_eq!(moves.done(), usize::MAX);
    let fine = Moves::default();
    drop(NoMoreMoves(&fine));
    assert_eq!(fine.done(), 0);
}
