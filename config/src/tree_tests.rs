//! Lines, syntax errors and caps of the tree.

use super::*;

/// Every key and value with its line, one a row, indented by depth.
fn lines(text: &str) -> String {
    fn walk(node: &Node, depth: usize, out: &mut String) {
        let indent = "  ".repeat(depth);
        match &node.content {
            Content::Empty => out.push_str(&format!("{indent}{} (empty)\n", node.line)),
            Content::Plain(text) => out.push_str(&format!("{indent}{} {text}\n", node.line)),
            Content::Quoted(text) => out.push_str(&format!("{indent}{} {text:?}\n", node.line)),
            Content::Tagged(tag) => out.push_str(&format!("{indent}{} tag {tag}\n", node.line)),
            Content::List(nodes) => {
                out.push_str(&format!("{indent}{} list\n", node.line));
                nodes.iter().for_each(|node| walk(node, depth + 1, out));
            }
            Content::Map(entries) => {
                out.push_str(&format!("{indent}{} map\n", node.line));
                for entry in entries {
                    let key = entry.key.as_deref().unwrap_or("?");
                    out.push_str(&format!("{indent}  {} {key}:\n", entry.line));
                    walk(&entry.value, depth + 2, out);
                }
            }
        }
    }
    let mut out = String::new();
    walk(&read(text).unwrap(), 0, &mut out);
    out
}

#[test]
fn every_key_and_value_has_its_line() {
    let text = "\
# a comment
workers: 2   # another

log: { format: human,
       level: 'info' }
listeners:
  - listen: 127.0.0.1:6379
    name:
      on-the-next-line
  -
    listen: 127.0.0.1:6380
backends:
  main:
    cluster:
      seeds: [a:1,
              b:2]
      password: \"x
        y\"
      username: |
        block
    lag:
    retry: {}
";
    let wanted = "\
2 map
  2 workers:
    2 2
  4 log:
    4 map
      4 format:
        4 human
      5 level:
        5 \"info\"
  6 listeners:
    7 list
      7 map
        7 listen:
          7 127.0.0.1:6379
        8 name:
          9 on-the-next-line
      11 map
        11 listen:
          11 127.0.0.1:6380
  12 backends:
    13 map
      13 main:
        14 map
          14 cluster:
            15 map
              15 seeds:
                15 list
                  15 a:1
                  16 b:2
              17 password:
                17 \"x y\"
              19 username:
                20 \"block\\n\"
          21 lag:
            21 (empty)
          22 retry:
            22 map
";
    assert_eq!(lines(text), wanted);
    assert_eq!(lines(&text.replace('\n', "\r\n")), wanted, "line ends of Windows count the same");
    assert_eq!(lines(&format!("\u{feff}{text}")), wanted, "a byte order mark is no line");
}

#[test]
fn text_stays_as_written() {
    assert_eq!(
        lines("a: 0123\nb: off\nc: 1e3\nd: ~\ne: null\nf: ''\ng: !!str 5\nh: !Env X\ni: !!int 5\n"),
        "1 map\n  1 a:\n    1 0123\n  2 b:\n    2 off\n  3 c:\n    3 1e3\n  4 d:\n    4 (empty)\n  5 e:\n    \
         5 (empty)\n  6 f:\n    6 \"\"\n  7 g:\n    7 \"5\"\n  8 h:\n    8 tag !Env\n  9 i:\n    9 5\n"
    );
}

#[test]
fn aliases_are_followed_and_keep_the_lines_of_their_text() {
    let text = "a: &limits\n  x: 1\nb: *limits\nc: &n 5\nd: [*n]\n";
    let lines = lines(text);
    assert!(lines.contains("3 b:\n    1 map\n      2 x:\n        2 1\n"), "{lines}");
    assert!(lines.contains("5 d:\n    5 list\n      4 5\n"), "{lines}");
}

#[test]
fn odd_keys_do_not_stop_the_reading() {
    assert_eq!(
        lines("workers: {{ workers }}\n? [a, b]\n: c\nlog: x\n"),
        "1 map\n  1 workers:\n    1 map\n      1 ?:\n        1 (empty)\n  2 ?:\n    3 c\n  4 log:\n    4 x\n"
    );
}

#[test]
fn empty_texts_are_empty() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "--- ~\n"] {
        assert_eq!(read(text).unwrap().content, Content::Empty, "{text:?}");
    }
}

#[test]
fn syntax_errors_have_their_line_and_often_a_hint() {
    for (text, line, hint) in [
        ("a: 1\nb: [1\nc: 2\n", 3, None),
        ("a: 1\n\tb: 2\n", 2, Some("spaces")),
        ("a: 1\nlisten: [::1]:6379\n", 2, Some("quotes")),
        ("a: 1\nb: \"x\n", 2, None),
        ("a: 1\nb: x: y\n", 2, Some("quotes")),
        ("a: 1\n---\nb: 2\n", 2, Some("one document")),
        ("a: *b\n", 1, None),
        ("a: 1\n  b: 2\n", 2, None),
        ("a: *\n", 1, Some("quotes")),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error:?}");
        if let Some(hint) = hint {
            assert!(error.suggestion.as_deref().unwrap_or_default().contains(hint), "{text:?}: {error:?}");
        }
    }
}

#[test]
fn size_and_depth_are_capped() {
    for open in ["[", "{a: ", "- "] {
        // Beyond some depth the parser has a limit of its own.
        let wrong = read(&open.repeat(10_000)).unwrap_err().wrong;
        assert!(wrong.contains("nested deeper") || wrong.contains("recursion limit"), "{open}: {wrong}");
        let wrong = read(&open.repeat(100)).unwrap_err().wrong;
        assert!(wrong.contains("nested deeper"), "{open}: {wrong}");
    }
    let deep = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(read(&deep).is_ok());
    let wide = format!("[{}]", "1,".repeat(NODES_MAX));
    assert!(read(&wide).unwrap_err().wrong.contains("more than"));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let error = read(&laughs).unwrap_err();
    assert!(error.wrong.contains("more than") || error.wrong.contains("alias"), "{error:?}");
}
