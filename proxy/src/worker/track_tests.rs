use super::*;
use crate::worker::stage::Stage;
use tokio::task::LocalSet;

// What became of a client that this one redirected to once says nothing of the one it redirects to now.
#[tokio::test]
async fn a_late_word_of_an_earlier_redirect_breaks_nothing() {
    LocalSet::new()
        .run_until(async {
            let stage = Stage::with("");
            let (key, _own) = stage.client().await;
            let mut router = stage.router.borrow_mut();
            let redirect =
                Redirect { id: 7, worker: 0, client: key, waiting: Forget::Everything, busy: true };
            router.client_mut(key).unwrap().tracking =
                Some(Box::new(Tracking { redirect: Some(redirect), ..Tracking::default() }));
            assert!(router.next_forward(key, 5).is_none(), "what is for the new one is not sent to the old");
            router.forwarded(key, 5, false);
            assert!(!router.client_mut(key).unwrap().tracking.as_ref().unwrap().broken);
            assert!(router.next_forward(key, 7).is_some());
            router.forwarded(key, 7, false);
            assert!(router.client_mut(key).unwrap().tracking.as_ref().unwrap().broken);
        })
        .await;
}
