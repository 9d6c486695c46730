//! Every trap has a test that bears its number, or `integration/TRAPS.md` says why it needs none; and that page
//! names what is tested.

use pointsman_integration::tools;
use std::collections::BTreeSet;
use std::path::Path;

/// Up to here each one must have a test; of those beyond, only some concern this proxy.
const TRAPS: u32 = 71;

/// The numbers in front of a test's name: `t07_t12_name` has 7 and 12.
fn numbers(name: &str) -> Vec<u32> {
    let number = |part: &str| part.strip_prefix('t')?.parse().ok();
    name.split('_').map_while(number).collect()
}

/// The numbers that a table's first cells name: `T01`, `T03, T04`, `T34 to T42`.
fn listed(table: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for cell in table.lines().filter_map(|line| line.strip_prefix("| T")?.split(" |").next()) {
        for part in cell.split(", ") {
            let number = |text: &str| text.trim_start_matches('T').parse::<u32>().expect("a trap's number");
            let (first, last) = part.split_once(" to ").unwrap_or((part, part));
            found.extend(number(first)..=number(last));
        }
    }
    found
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
    let (tested, reasons) = page.split_once("Why it does not apply").expect("the table is there");
    let (tested, excused) = (listed(tested), listed(reasons));
    for number in (1..=TRAPS).chain(found.iter().copied()).chain(tested.iter().copied()) {
        let (has_test, has_excuse) = (found.contains(&number), excused.contains(&number));
        assert!(has_test != has_excuse, "T{number:02}: tested {has_test}, excused {has_excuse}");
        assert!(
            tested.contains(&number) == has_test,
            "T{number:02}: tested {has_test}, and the page differs"
        );
    }
}

#[test]
fn rows_of_the_page_may_name_several() {
    let table = "| T01 | a |\n| T03, T04 | T09 |\n| T34 to T36 | b |\n- T50: a limit\n";
    assert_eq!(listed(table), BTreeSet::from([1, 3, 4, 34, 35, 36]));
}

#[test]
fn numbers_stand_in_front_of_names() {
    assert_eq!(numbers("t07_t12_every_row"), [7, 12]);
    assert_eq!(numbers("the_t07"), Vec::<u32>::new());
    assert_eq!(numbers("t_7"), Vec::<u32>::new());
}
