use super::*;

fn view(epoch: u64, id: u8, port: u16) -> Topology {
    let mut builder = TopologyBuilder::new();
    let node = Node { id: Some(NodeId::from_bytes([id; 20])), address: HostPort::new("h", port), zone: None };
    builder.epoch(epoch).shard(node, vec![], &[(0, 16383)]).unwrap();
    builder.build()
}

// T83: a node in a minority, or one that came back, must not turn the view back.
#[test]
fn t83_the_highest_epoch_counts() {
    let published = view(5, 1, 1);
    let (old, new) = (view(4, 1, 9), view(6, 1, 2));
    assert_eq!(choose(vec![old.clone(), new.clone(), old.clone()], &published), Choice::Newest(new));
    assert_eq!(choose(vec![old.clone(), old], &published), Choice::Older);
    assert_eq!(choose(vec![], &published), Choice::Nothing);
}

#[test]
fn of_equal_epochs_the_majority_counts() {
    let published = view(5, 1, 1);
    let (many, one) = (view(5, 1, 2), view(5, 1, 3));
    assert_eq!(choose(vec![many.clone(), one, many.clone()], &published), Choice::Newest(many));
}

// T84: an address that now belongs to another cluster is not believed while anyone of ours answers.
#[test]
fn t84_another_cluster_at_a_known_address() {
    let published = view(5, 1, 1);
    let (foreign, own) = (view(99, 2, 1), view(5, 1, 1));
    assert_eq!(choose(vec![foreign.clone(), own.clone()], &published), Choice::Newest(own));
    assert_eq!(choose(vec![foreign.clone()], &published), Choice::Foreign(foreign.clone()));
    assert_eq!(choose(vec![foreign.clone()], &Topology::empty()), Choice::Newest(foreign));
}

// T88: seeds stay the last resort.
#[test]
fn t88_seeds_are_asked_when_nobody_else_is_known() {
    let seeds = [HostPort::new("s", 1), HostPort::new("s", 2)];
    let random = RandomState::new();
    assert_eq!(candidates(&Topology::empty(), &seeds, &random, 1), seeds);
    let asked = candidates(&view(1, 1, 7), &seeds, &random, 1);
    assert_eq!(asked[0], HostPort::new("h", 7));
    assert!(asked.contains(&seeds[0]));
}

#[test]
fn addresses_are_mapped_to_where_they_are_reached() {
    let map = HashMap::from([(HostPort::new("h", 7), HostPort::new("nat", 70))]);
    let topology = mapped(view(3, 1, 7), &map);
    assert_eq!((topology.nodes()[0].address.to_string(), topology.epoch().0), ("nat:70".to_owned(), 3));
}
