//! Flags on top of a configuration.

use super::*;

fn cluster() -> Config {
    crate::parse(
        "backends: { c: { cluster: { seeds: ['10.0.0.1:6379', '127.0.0.1:7000'] } } }",
        "t",
        &|_| None,
        &|_| Err(std::io::ErrorKind::NotFound.into()),
    )
    .unwrap()
}

fn refused(config: Config, flags: Overrides) -> String {
    config.with(&flags).unwrap_err().to_string()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn no_flags_change_nothing() {
    for config in [Config::embedded_default(), cluster()] {
        assert_eq!(config.clone().with(&Overrides::default()), Ok(config));
    }
}

#[test]
fn each_flag_changes_its_own_value() {
    let flags = Overrides {
        listen: Some(address("127.0.0.1:20001")),
        admin: Some(AdminOverride::Listen(address("127.0.0.1:20002"))),
        shards: Some(5),
        replicas: Some(0),
        workers: Some(7),
        node_port: Some(20010),
    };
    let config = Config::embedded_default().with(&flags).unwrap();
    assert_eq!(config.listeners[0].listen, address("127.0.0.1:20001"));
    assert_eq!(config.listeners[0].name, "127.0.0.1:20001", "a name that was the address goes with it");
    assert_eq!(config.admin, Some(Admin { listen: address("127.0.0.1:20002") }));
    assert_eq!(config.workers, 7);
    let bundled = Bundled { shards: 5, replicas: 0, node_port: 20010 };
    assert_eq!(config.backends[0].kind, BackendKind::Bundled(bundled));

    let off = Overrides { admin: Some(AdminOverride::Off), ..Overrides::default() };
    assert_eq!(Config::embedded_default().with(&off).unwrap().admin, None);
}

#[test]
fn a_flag_that_does_not_apply_is_refused_by_name() {
    let flags =
        Overrides { shards: Some(3), replicas: Some(1), node_port: Some(7001), ..Overrides::default() };
    assert_eq!(
        refused(cluster(), flags),
        "command line: --shards = 3: the configuration has no bundled backend for it to change; \
         leave the flag out: the nodes of a cluster are not started from here\n\
         command line: --replicas = 1: the configuration has no bundled backend for it to change; \
         leave the flag out: the nodes of a cluster are not started from here\n\
         command line: --node-port = 7001: the configuration has no bundled backend for it to change; \
         leave the flag out: the nodes of a cluster are not started from here"
    );

    let mut two = Config::embedded_default();
    two.listeners.push(crate::Listener { listen: address("127.0.0.1:6380"), ..two.listeners[0].clone() });
    two.backends.push(two.backends[0].clone());
    let flags = Overrides { listen: Some(address("127.0.0.1:1")), shards: Some(1), ..Overrides::default() };
    assert_eq!(
        refused(two, flags),
        "command line: --listen = 127.0.0.1:1: the configuration has 2 listeners, and the flag moves the only one; \
         change the address in the file\n\
         command line: --shards = 1: the configuration has 2 bundled backends, and the flag changes the only one; \
         change the number in the file"
    );
}

#[test]
fn flags_have_the_ranges_of_their_keys() {
    let flags = Overrides { shards: Some(0), replicas: Some(9), workers: Some(0), ..Overrides::default() };
    assert_eq!(
        refused(Config::embedded_default(), flags),
        "command line: --workers = 0: too small; allowed: a whole number from 1 to 1024\n\
         command line: --shards = 0: too small; allowed: a whole number from 1 to 128\n\
         command line: --replicas = 9: too large; allowed: a whole number from 0 to 8"
    );
    let flags = Overrides { node_port: Some(65535), ..Overrides::default() };
    assert_eq!(
        refused(Config::embedded_default(), flags),
        "command line: --node-port = 65535: 6 nodes from this port on would need ports up to 65540, and 65535 is \
         the last; choose a lower port, or fewer nodes"
    );
}

#[test]
fn flags_that_want_one_port_are_refused() {
    let way_out = "choose another port; --listen, --admin and --node-port move them";
    for (flags, wanted) in [
        (
            Overrides { listen: Some(address("0.0.0.0:7003")), ..Overrides::default() },
            "--listen = 0.0.0.0:7003: backends.main.bundled.node_port takes 127.0.0.1:7001 to 7006 already",
        ),
        (
            Overrides {
                admin: Some(AdminOverride::Listen(address("127.0.0.1:1"))),
                listen: Some(address("127.0.0.1:1")),
                ..Overrides::default()
            },
            "--listen = 127.0.0.1:1: --admin takes 127.0.0.1:1 already",
        ),
        (
            Overrides {
                admin: Some(AdminOverride::Listen(address("127.0.0.1:6379"))),
                ..Overrides::default()
            },
            "--admin = 127.0.0.1:6379: listeners[0].listen takes 127.0.0.1:6379 already",
        ),
        (
            Overrides { node_port: Some(6375), ..Overrides::default() },
            "--node-port = 127.0.0.1:6375 to 6380: listeners[0].listen takes 127.0.0.1:6379 already",
        ),
        (
            Overrides { node_port: Some(9100), shards: Some(100), ..Overrides::default() },
            "--node-port = 127.0.0.1:9100 to 9299: admin.listen takes 127.0.0.1:9180 already",
        ),
    ] {
        assert_eq!(refused(Config::embedded_default(), flags), format!("command line: {wanted}; {way_out}"));
    }
    let free = Overrides { listen: Some(address("127.0.0.1:0")), ..Overrides::default() };
    assert!(Config::embedded_default().with(&free).is_ok(), "port 0 takes a free one");
}

#[test]
fn a_listener_is_not_moved_onto_a_seed() {
    let flags = Overrides { listen: Some(address("0.0.0.0:7000")), ..Overrides::default() };
    assert_eq!(
        refused(cluster(), flags),
        "command line: --listen = 0.0.0.0:7000: this is a seed of backend c: the proxy would connect to itself; \
         choose another port"
    );
}

#[test]
fn admin_flags_read_like_the_key() {
    assert_eq!("off".parse(), Ok(AdminOverride::Off));
    assert_eq!("127.0.0.1:1".parse(), Ok(AdminOverride::Listen(address("127.0.0.1:1"))));
    assert!("on".parse::<AdminOverride>().unwrap_err().contains("'on'"));
}
