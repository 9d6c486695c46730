//! Real clusters of redis-servers, made by `redis-cli --cluster create`, and what tests do to them:
//! kill and freeze nodes, move slots whole (reshard) or step by step.

use crate::client::Client;
use crate::eventually::{check, eventually, within};
use crate::redis_server::{AGREE, RedisServer};
use crate::reply::Reply;
use crate::tools;
use pointsman_protocol::Slot;
use std::sync::{Arc, Mutex, Weak};

/// How long a node may be silent before the others count it as failed, in milliseconds. Long enough
/// for a busy machine; tests of failover shorten it.
const NODE_TIMEOUT_MS: &str = "10000";

/// A running cluster; its nodes die with it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<RedisServer>,
}

/// A node as CLUSTER NODES describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its 40 digits.
    pub id: String,
    /// `host:port`.
    pub address: String,
    /// Its flags, `myself` left out.
    pub flags: Vec<String>,
    /// The id of its primary, if it is a replica.
    pub primary: Option<String>,
    /// Its configuration epoch.
    pub epoch: u64,
    /// Its slots as inclusive ranges; slots in migration are not among them twice.
    pub slots: Vec<(u16, u16)>,
}

impl Member {
    /// True if it owns this slot.
    pub fn owns(&self, slot: Slot) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot.number()))
    }
}

impl Cluster {
    /// A cluster of its own for one test, agreed and with its replicas linked.
    #[track_caller]
    pub fn start(primaries: usize, replicas: usize) -> Cluster {
        Cluster::start_with(primaries, replicas, &["--cluster-node-timeout", NODE_TIMEOUT_MS])
    }

    /// As [`Self::start`] with more of redis-server's options.
    #[track_caller]
    pub fn start_with(primaries: usize, replicas: usize, options: &[&str]) -> Cluster {
        let count = primaries * (1 + replicas);
        let nodes: Vec<RedisServer> = (0..count).map(|_| RedisServer::cluster_node(options)).collect();
        let addresses: Vec<String> = nodes.iter().map(RedisServer::address).collect();
        let replicas_text = replicas.to_string();
        let mut args = vec!["--cluster", "create"];
        args.extend(addresses.iter().map(String::as_str));
        args.extend(["--cluster-replicas", &replicas_text, "--cluster-yes"]);
        tools::redis_cli(&args).expect_success();
        let cluster = Cluster { nodes };
        cluster.wait_until_agreed();
        cluster
    }

    /// Three primaries with a replica each, shared by all tests that are running: use keys of your
    /// own, and change neither its nodes nor its slots.
    #[track_caller]
    pub fn shared() -> Arc<Cluster> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        // A test that failed to start it leaves the lock poisoned and the place empty: try again.
        let mut place = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(cluster) = place.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Cluster::start(3, 1));
        *place = Arc::downgrade(&cluster);
        cluster
    }

    /// All nodes; the first ones are the primaries at the start.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, index: usize) -> &RedisServer {
        &self.nodes[index]
    }

    /// One node, to be killed or started again.
    pub fn node_mut(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }

    /// `host:port` of every node.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// The members as node `index` sees them.
    #[track_caller]
    pub fn members_seen_by(&self, index: usize) -> Vec<Member> {
        parse_members(&self.nodes[index].command(&["CLUSTER", "NODES"]).text())
    }

    /// The member that owns `slot`, as the first node sees it.
    #[track_caller]
    pub fn owner(&self, slot: Slot) -> Member {
        let members = self.members_seen_by(0);
        members.into_iter().find(|member| member.owns(slot)).expect("every slot has an owner")
    }

    /// The index of the node that is this member.
    #[track_caller]
    pub fn index_of(&self, member: &Member) -> usize {
        let place = self.nodes.iter().position(|node| node.address() == member.address);
        place.expect("the member is one of our nodes")
    }

    /// The index of the primary that owns this key's slot.
    #[track_caller]
    pub fn primary_of(&self, key: impl AsRef<[u8]>) -> usize {
        self.index_of(&self.owner(Slot::of(key.as_ref())))
    }

    /// The indices of the replicas of the node `primary`.
    #[track_caller]
    pub fn replicas_of(&self, primary: usize) -> Vec<usize> {
        let members = self.members_seen_by(0);
        let address = self.nodes[primary].address();
        let id = &members.iter().find(|member| member.address == address).expect("it is a member").id;
        members
            .iter()
            .filter(|member| member.primary.as_ref() == Some(id))
            .map(|member| self.index_of(member))
            .collect()
    }

    /// The indices of the primaries, in order.
    #[track_caller]
    pub fn primaries(&self) -> Vec<usize> {
        let members = self.members_seen_by(0);
        let primaries = members.iter().filter(|member| member.primary.is_none());
        let mut indices: Vec<usize> = primaries.map(|member| self.index_of(member)).collect();
        indices.sort();
        indices
    }

    /// Waits until so many clients wait in a blocking command at all primaries together.
    #[track_caller]
    pub fn wait_for_blocked(&self, count: usize) {
        eventually(&format!("{count} clients wait at the nodes"), || {
            let blocked: usize = self.primaries().iter().map(|node| self.node(*node).blocked_clients()).sum();
            check(blocked == count, blocked)
        });
    }

    /// Waits until all nodes agree on all slots and the replicas are linked.
    #[track_caller]
    pub fn wait_until_agreed(&self) {
        within(AGREE, "all nodes of the cluster agree", || {
            let first = agreement(&self.members_seen_by(0));
            for (index, node) in self.nodes.iter().enumerate() {
                let info = node.command(&["CLUSTER", "INFO"]).text();
                check(info.contains("cluster_state:ok"), format!("node {index}: {info}"))?;
                let seen = self.members_seen_by(index);
                check(seen.len() == self.nodes.len(), format!("node {index} knows {} nodes", seen.len()))?;
                check(agreement(&seen) == first, format!("node {index} sees {seen:?}"))?;
                if node.info("replication", "role").as_deref() == Some("slave") {
                    let link = node.info("replication", "master_link_status");
                    check(link.as_deref() == Some("up"), format!("replica {index} is not linked"))?;
                }
            }
            Ok::<(), String>(())
        });
    }

    /// Waits until the primaries agree on all slots and epochs. Between two moves of slots in
    /// different directions this is necessary: a node that has not heard of the first one's epoch may
    /// take the second one back, and then the nodes disagree for good.
    #[track_caller]
    pub fn wait_until_primaries_agree(&self) {
        let primaries = self.primaries();
        within(AGREE, "the primaries agree", || {
            let first = agreement(&self.members_seen_by(primaries[0]));
            for index in &primaries {
                let seen = agreement(&self.members_seen_by(*index));
                check(seen == first, format!("node {index} sees {seen:?}"))?;
            }
            Ok::<(), String>(())
        });
    }

    /// Moves `count` slots from one primary to another by `redis-cli --cluster reshard`.
    #[track_caller]
    pub fn reshard(&self, from: usize, to: usize, count: usize) {
        let id = |index: usize| self.nodes[index].command(&["CLUSTER", "MYID"]).text();
        tools::redis_cli(&[
            "--cluster",
            "reshard",
            &self.nodes[0].address(),
            "--cluster-from",
            &id(from),
            "--cluster-to",
            &id(to),
            "--cluster-slots",
            &count.to_string(),
            "--cluster-yes",
        ])
        .expect_success();
    }

    /// Begins to move one slot to node `to`: from now on its keys may be on either side.
    #[track_caller]
    pub fn begin_move(&self, slot: Slot, to: usize) -> Move<'_> {
        let from = self.index_of(&self.owner(slot));
        assert_ne!(from, to, "slot {slot} is already there");
        let mut step = Move {
            cluster: self,
            slot,
            to,
            source: self.nodes[from].client(),
            target: self.nodes[to].client(),
        };
        let (from_id, to_id) =
            (step.source.line("CLUSTER MYID").text(), step.target.line("CLUSTER MYID").text());
        expect_ok(step.target.line(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")));
        expect_ok(step.source.line(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")));
        step
    }

    /// Moves one slot with all its keys to node `to`.
    #[track_caller]
    pub fn move_slot(&self, slot: Slot, to: usize) {
        let mut step = self.begin_move(slot, to);
        while step.move_keys(100) > 0 {}
        step.finish();
    }
}

/// A slot on its way from one primary to another.
#[derive(Debug)]
pub struct Move<'a> {
    cluster: &'a Cluster,
    slot: Slot,
    to: usize,
    source: Client,
    target: Client,
}

impl Move<'_> {
    /// Moves at most `count` of the slot's keys and says how many it moved.
    #[track_caller]
    pub fn move_keys(&mut self, count: usize) -> usize {
        let keys = self.source.line(&format!("CLUSTER GETKEYSINSLOT {} {count}", self.slot)).elements();
        if keys.is_empty() {
            return 0;
        }
        let port = self.cluster.nodes[self.to].port().to_string();
        let mut words: Vec<Vec<u8>> = ["MIGRATE", "127.0.0.1", &port, "", "0", "10000", "KEYS"]
            .map(|word| word.as_bytes().to_vec())
            .to_vec();
        words.extend(
            keys.iter()
                .map(|key| pointsman_protocol::resp::reply::payload(&key.0).unwrap_or_default().to_vec()),
        );
        let reply = self.source.command(&words);
        // NOKEY: they were deleted in between.
        assert!(reply == "+OK\r\n" || reply == "+NOKEY\r\n", "MIGRATE: {reply}");
        keys.len()
    }

    /// Hands the slot over, at the new owner first, then at the old one, and waits until all primaries know.
    ///
    /// The others are not ordered to know it as well: one that hears the order before it hears of the new owner's
    /// epoch finds the slot unclaimed in the owner's older packets, gives it back to the old owner, whose
    /// older packets do claim it, and now and then the nodes disagree for good. (redis-server 7.0 alone: within 50 to 1500
    /// moves.)
    #[track_caller]
    pub fn finish(mut self) {
        let id = self.target.line("CLUSTER MYID").text();
        let order = format!("CLUSTER SETSLOT {} NODE {id}", self.slot);
        expect_ok(self.target.line(&order));
        expect_ok(self.source.line(&order));
        within(AGREE, "the primaries hear of the move", || {
            let knows = |index: &usize| {
                let members = self.cluster.members_seen_by(*index);
                members.iter().any(|member| member.id == id && member.owns(self.slot))
            };
            check(self.cluster.primaries().iter().all(knows), format!("slot {}", self.slot))
        });
    }
}

#[track_caller]
fn expect_ok(reply: Reply) {
    assert_eq!(reply, Reply::ok());
}

/// What all nodes must see alike.
fn agreement(members: &[Member]) -> Vec<Member> {
    let mut seen: Vec<Member> =
        members.iter().map(|member| Member { flags: Vec::new(), ..member.clone() }).collect();
    seen.sort();
    seen
}

fn parse_members(text: &str) -> Vec<Member> {
    text.lines().filter(|line| !line.is_empty()).map(parse_member).collect()
}

/// `id ip:port@bus flags primary ping pong epoch link slot-range ... [slot->-id]`
fn parse_member(line: &str) -> Member {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(words.len() >= 8, "a line of CLUSTER NODES: {line}");
    let range = |word: &&str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        (first.parse().expect(line), last.parse().expect(line))
    };
    Member {
        id: words[0].to_owned(),
        address: words[1].split('@').next().unwrap_or_default().to_owned(),
        flags: words[2].split(',').filter(|flag| *flag != "myself").map(str::to_owned).collect(),
        primary: (words[3] != "-").then(|| words[3].to_owned()),
        epoch: words[6].parse().expect(line),
        slots: words[8..].iter().filter(|word| !word.starts_with('[')).map(range).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_from_cluster_nodes() {
        let text = "aa 127.0.0.1:20001@30001 myself,master - 0 0 1 connected 0-5460 [7->-bb]\n\
                    bb 127.0.0.1:20002@30002 master - 0 1 2 connected 5461 5463-16383\n\
                    cc 127.0.0.1:20003@30003 slave,fail bb 0 1 2 disconnected\n";
        let members = parse_members(text);
        assert_eq!(members[0].flags, ["master"]);
        assert!(members[0].owns(Slot::new(7).unwrap()) && !members[0].owns(Slot::new(5461).unwrap()));
        assert_eq!(members[1].slots, [(5461, 5461), (5463, 16383)]);
        assert_eq!(
            (members[2].primary.as_deref(), members[2].address.as_str()),
            (Some("bb"), "127.0.0.1:20003")
        );
    }
}
