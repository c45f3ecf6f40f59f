use super::*;

fn dependency(number: u8) -> Dependency {
    Dependency::from_bytes([number; 16])
}

#[test]
fn epochs_come_back_as_they_were() {
    let source = |name: &str| SourceId::new(name).expect("a good name");
    let epochs = Epochs {
        global: Epoch::random(),
        sources: vec![(source("a"), Epoch::random()), (source(&"b".repeat(128)), Epoch::random())],
    };
    let bytes = encode_epochs(&epochs);
    assert_eq!(decode_epochs(&bytes), Some(epochs));
    assert_eq!(decode_epochs(&bytes[..bytes.len() - 1]), None);
}

#[test]
fn a_dependency_that_is_used_twice_has_one_edge_and_the_direct_one() {
    let used = |number, via| UsedDependency { dependency: dependency(number), via };
    let all = [
        used(1, Via::Child),
        used(2, Via::Direct),
        used(1, Via::Direct),
        used(2, Via::Child),
        used(3, Via::Guard),
        used(3, Via::Child),
    ];
    let bytes = encode_edges(&edges(&all));
    assert_eq!(decode_used(&bytes), Some(vec![used(1, Via::Direct), used(2, Via::Direct), used(3, Via::Child)]));
    assert_eq!(decode_used(&bytes[..bytes.len() - 1]), None);
    assert_eq!(decode_used(&[1; USED]), None);
}

#[test]
fn a_conflict_names_each_dependency_once_and_at_most_eight() {
    let all = (0..20).map(|number| dependency(number / 2));
    assert_eq!(named(all), (0..8).map(dependency).collect::<Vec<_>>());
}
