use super::*;
#[test]
fn pause() {
    for tagged in [false, true] {
    let mut seen: std::collections::HashMap<u64, Vec<u128>> = Default::default();
    for _ in 0..4 {
    let mut keyspace = Keyspace::new((1, 2));
    let value = [7u8; 64];
    for number in 0..16_000_000u64 {
        let key = if tagged { format!("{{t}}:{number:012}") } else { format!("key:{number:012}") };
        let t = std::time::Instant::now();
        let place = keyspace.place(key.as_bytes());
        keyspace.put(place, key.as_bytes(), Payload::Slice(&value), Encoding::Raw, None).unwrap();
        let d = t.elapsed();
        if d.as_micros() > 60 { seen.entry(number).or_default().push(d.as_micros()); }
    }
    std::mem::forget(keyspace);
    }
    let mut worst: Vec<_> = seen.iter().filter(|(_, v)| v.len() == 4).map(|(n, v)| (*v.iter().min().unwrap(), *n)).collect();
    worst.sort(); worst.reverse(); 
    println!("tagged {tagged} always over 60us: {} worst {:?}", worst.len(), &worst[..worst.len().min(15)]);
    }
}
