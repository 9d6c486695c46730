use super::*;
use pointsman_config::FixedShard;

/// 28 keys `key:N`, and these.
fn keys() -> Vec<Vec<u8>> {
    let more: [&[u8]; 12] = [
        b"a",
        b"foo",
        b"x<a>y",
        b"z<a>",
        b"<>k",
        b"<k",
        b"\xff\x80k",
        b"\xc3\xbcber",
        b"<\xc3\xbc>1",
        b"a longer key with spaces and so on 123456789",
        b"",
        b"\x00\x01",
    ];
    let numbered = (0..28).map(|number| format!("key:{number}").into_bytes());
    numbered.chain(more.map(<[u8]>::to_vec)).collect()
}

fn fixed(
    distribution: Distribution,
    hash: KeyHash,
    hash_tag: Option<(u8, u8)>,
    servers: &[(&str, u16)],
) -> Fixed {
    let shards = servers.iter().map(|(name, weight)| FixedShard {
        seeds: Vec::new(),
        name: (*name).to_owned(),
        weight: *weight,
    });
    Fixed { shards: shards.collect(), distribution, hash, hash_tag, address_map: Vec::new() }
}

fn servers_of(fixed: &Fixed) -> String {
    let continuum = Continuum::of(fixed).unwrap();
    keys().iter().map(|key| continuum.server(key).to_string()).collect()
}

// T91: where twemproxy 0.5.0 (on x86-64) puts these keys, found out by asking it: servers alpha, beta and gamma, of equal
// weight and of weights 1, 2 and 3, the tag in angle brackets.
#[test]
fn t91_keys_are_where_twemproxy_has_them() {
    use Distribution::{Ketama, Modula};
    for (distribution, hash, equal, weighed) in [
        (
            Ketama,
            KeyHash::Fnv1a64,
            "2222222222222222222222222222222202002202",
            "2222222222222222222222222222222222222212",
        ),
        (
            Ketama,
            KeyHash::Fnv164,
            "1111111111000000000000000000202202022102",
            "1111111111000000000000000000202202022112",
        ),
        (
            Ketama,
            KeyHash::Fnv1a32,
            "2202211100111211210022211121000020102201",
            "2202221100111221212022222222020020122211",
        ),
        (
            Ketama,
            KeyHash::Fnv132,
            "0000000000000000000022222222111122201000",
            "1111111111222222222222222222111122212112",
        ),
        (
            Ketama,
            KeyHash::Md5,
            "2021020000022102012210022100010002000201",
            "2021020220022102022212222220020002020211",
        ),
        (
            Ketama,
            KeyHash::Crc16,
            "2222222222111111111122222222020021001100",
            "2222222222111111111122222222121121021111",
        ),
        (
            Ketama,
            KeyHash::Crc32,
            "0000000000000000000000000000000000000000",
            "1111111111111111111111111111111111111111",
        ),
        (
            Ketama,
            KeyHash::Crc32a,
            "2210222221101210200121021100101100102101",
            "2210222221102210202221121120121120102111",
        ),
        (
            Ketama,
            KeyHash::OneAtATime,
            "1222101001222020012010111202202220002201",
            "1222101201222020212111221202202221222211",
        ),
        (
            Modula,
            KeyHash::Fnv1a64,
            "2222222222111111111111111111020020220010",
            "0202020202212121212112121212222202222212",
        ),
        (
            Modula,
            KeyHash::Fnv164,
            "2102021002012012012002212110010022122211",
            "0222221122112220112222020211222200220011",
        ),
        (
            Modula,
            KeyHash::Fnv1a32,
            "2001011212211002210220120120010021102111",
            "0122221212212210211001122201222201210111",
        ),
        (
            Modula,
            KeyHash::Fnv132,
            "1021210221012012012002212110222211201010",
            "1102022202112220112222020211020011211212",
        ),
        (
            Modula,
            KeyHash::Md5,
            "0222001220211020010001102011101120102112",
            "1002221001012221221212220211121101220210",
        ),
        (
            Modula,
            KeyHash::Crc16,
            "1122001100210221022110210210000020222010",
            "1202211221022202220222211022121121000111",
        ),
        (
            Modula,
            KeyHash::Crc32,
            "1211222222122001012212010021202210100111",
            "1212202020120111112020112102212222111211",
        ),
        (
            Modula,
            KeyHash::Crc32a,
            "0122202000000021212122111200121112020210",
            "2100212122111101012200112211222220201011",
        ),
        (
            Modula,
            KeyHash::OneAtATime,
            "2220000000220000000002002222111111221011",
            "2021221122222111122112220022121112222212",
        ),
    ] {
        for (weights, expected) in [([1, 1, 1], equal), ([1, 2, 3], weighed)] {
            let servers = [("alpha", weights[0]), ("beta", weights[1]), ("gamma", weights[2])];
            let fixed = fixed(distribution, hash, Some((b'<', b'>')), &servers);
            assert_eq!(servers_of(&fixed), expected, "{distribution:?} {hash:?} {weights:?}");
        }
    }
}

// Without names, it is the address that makes the points.
#[test]
fn t91_names_are_what_the_ring_is_made_of() {
    let servers = [("127.0.0.1:28971", 1), ("127.0.0.1:28972", 1), ("127.0.0.1:28973", 1)];
    let fixed = fixed(Distribution::Ketama, KeyHash::Fnv1a64, None, &servers);
    assert_eq!(servers_of(&fixed), "1111111111000000000000000000021210211021");
    let Some(Continuum { places: Places::Ketama(points), .. }) = Continuum::of(&fixed) else { panic!() };
    assert_eq!(points.len(), 480);
}

#[test]
fn no_server_is_left_out() {
    for distribution in [Distribution::Ketama, Distribution::Modula] {
        let servers: Vec<(String, u16)> =
            (0..50).map(|server| (format!("s{server}"), 1 + server % 3)).collect();
        let servers: Vec<(&str, u16)> =
            servers.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
        let continuum =
            Continuum::of(&fixed(distribution, KeyHash::Fnv1a32, Some((b'{', b'}')), &servers)).unwrap();
        let mut found = [false; 50];
        for number in 0..20_000 {
            found[continuum.server(format!("{number}").as_bytes())] = true;
        }
        assert!(found.iter().all(|found| *found), "{distribution:?}");
        assert_eq!(continuum.server(b"a{t}"), continuum.server(b"{t}b"));
    }
}
