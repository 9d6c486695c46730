//! Every trap has a test that bears its number, or `integration/TRAPS.md` says why it needs none.

use pointsman_integration::tools;
use std::collections::BTreeSet;
use std::path::Path;

/// The last one.
const TRAPS: u32 = 71;

/// The numbers in front of a test's name: `t07_t12_name` has 7 and 12.
fn numbers(name: &str) -> Vec<u32> {
    let number = |part: &str| part.strip_prefix('t')?.parse().ok();
    name.split('_').map_while(number).collect()
}

fn collect(dir: &Path, found: &mut BTreeSet<u32>) {
    for entry in std::fs::read_dir(dir).expect("a directory can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            let text = std::fs::read_to_string(&path).expect("a source file can be read");
            let names = text.lines().filter_map(|line| {
                let line = line.trim_start();
                // Python's begin with `test_`, and macros may name tests before a colon.
                let name =
                    line.strip_prefix("fn ").or_else(|| line.strip_prefix("def test_")).unwrap_or(line);
                name.split(['(', ':', '<']).next()
            });
            names.for_each(|name| found.extend(numbers(name)));
        }
    }
}

#[test]
fn every_trap_has_a_test_or_a_reason() {
    let workspace = tools::workspace();
    let mut found = BTreeSet::new();
    for part in
        ["protocol/src", "protocol/tests", "proxy/src", "store", "integration/tests", "integration/python"]
    {
        collect(&workspace.join(part), &mut found);
    }
    let page = std::fs::read_to_string(workspace.join("integration/TRAPS.md")).expect("it is there");
    let reasons = page.split("Why it does not apply").nth(1).expect("the table is there");
    for number in 1..=TRAPS {
        let excused = reasons.contains(&format!("| T{number:02} |"));
        assert!(found.contains(&number) != excused, "T{number:02}: tested {}, excused {excused}", !excused);
    }
}

#[test]
fn numbers_stand_in_front_of_names() {
    assert_eq!(numbers("t07_t12_every_row"), [7, 12]);
    assert_eq!(numbers("the_t07"), Vec::<u32>::new());
    assert_eq!(numbers("t_7"), Vec::<u32>::new());
}
