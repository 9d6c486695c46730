//! T49, T60: connections of clients' own are few: who finds none waits for one, first come first served, and not for ever.

use pointsman_integration::{Fake, Reply, Setup};
use std::time::Duration;

#[test]
fn t49_who_finds_no_connection_of_its_own_waits_in_turn() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| setup.backend_extra.push("pool: { max_active: 1, wait_ms: 60000 }".into()))
        .start();
    let waiting = |count: f64| {
        pointsman.wait_for("clients wait", "pointsman_pool_waiting_clients", |waiting| waiting == count);
    };
    let mut clients: Vec<_> = (0..4).map(|_| pointsman.client()).collect();
    assert_eq!(clients[0].line("WATCH k"), Reply::ok());
    for (place, client) in clients.iter_mut().enumerate().skip(1) {
        client.send(&["WATCH", "k"]);
        client.send(&["ECHO", &place.to_string()]);
        waiting(place as f64);
    }
    pointsman.wait_for("all are in use", "pointsman_pool_crowded_workers", |crowded| crowded == 1.0);
    assert!(clients[1].is_silent_for(Duration::from_millis(50)));
    // Who leaves the queue holds up nobody behind it.
    drop(clients.remove(2));
    for place in [0, 1] {
        assert_eq!(clients[place].line("UNWATCH"), Reply::ok());
        let next = &mut clients[place + 1];
        assert_eq!(next.read(), Reply::ok(), "{place}");
        assert!(!next.read().is_error(), "what came behind it follows");
    }
    waiting(0.0);
    assert!(pointsman.metrics().sum("pointsman_pool_waited_milliseconds_total", &[]) >= 50.0);
    assert!(pointsman.metrics().sum("pointsman_pinned_connections", &[]) <= 1.0);
}
