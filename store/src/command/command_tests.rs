use super::*;

#[test]
fn every_command_of_every_family_is_in_the_table() {
    for (name, _) in FAMILIES.iter().flat_map(|family| family.iter()) {
        let spec = match name.split_once('|') {
            None => lookup(name.as_bytes()),
            Some((parent, child)) => {
                lookup(parent.as_bytes()).and_then(|parent| subcommand(parent, child.as_bytes()))
            }
        };
        let spec = spec.unwrap_or_else(|| panic!("{name} is not in the command table"));
        assert_eq!(spec.name, *name);
        assert!(HANDLERS[usize::from(spec.index)].is_some());
    }
    let names: std::collections::HashSet<_> =
        FAMILIES.iter().flat_map(|family| family.iter()).map(|(name, _)| name).collect();
    let count: usize = FAMILIES.iter().map(|family| family.len()).sum();
    assert_eq!(names.len(), count, "a command has two handlers");
}
