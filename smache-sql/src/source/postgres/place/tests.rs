use super::*;

fn snapshot(text: &str) -> Snapshot {
    Snapshot::parse(text).expect("a snapshot")
}

fn place(seen: &str, reading: Option<(&str, i64)>) -> Place {
    let reading = reading.map(|(target, row)| Reading { target: snapshot(target), row });
    let columns = [("people".to_owned(), -1), ("".to_owned(), i64::MAX)].into();
    Place { history: "here".to_owned(), seen: snapshot(seen), columns, reading }
}

#[test]
fn a_position_brings_its_place_back() {
    let places = [
        place("3:3:", None),
        place("10:20:10,14,19", None),
        place("10:20:10,14,19", Some(("14:18446744073709551615:14,300,18446744073709551614", i64::MAX - 1))),
    ];
    for place in places {
        let position = place.position().expect("a position");
        assert_eq!(Place::restore(&position).expect("a place"), place);
        for end in 0..position.token.len() {
            let cut = Position { order: position.order.clone(), token: position.token.slice(..end) };
            // Cut after the columns it is a place as well.
            assert!(Place::restore(&cut).map_or_else(
                |error| error.kind() == ErrorKind::HistoryLost,
                |cut| cut.reading.is_none() && place.reading.is_some()
            ));
        }
    }
}

#[test]
fn order_grows_with_what_is_seen_and_with_what_is_read() {
    // As a server would answer one after the other, with the batches of reads in between.
    let places = [
        place("5:5:", None),
        place("5:8:5,6", None),
        place("5:8:5,6", Some(("6:8:6", 10))),
        place("5:8:5,6", Some(("6:8:6", 20))),
        place("6:8:6", None),
        // Another read from the same beginning, but further.
        place("5:8:5,6", Some(("8:8:", 3))),
        place("6:8:6", Some(("8:8:", 4))),
        place("8:8:", None),
        place("8:300:8,9,200", None),
    ];
    let orders: Vec<Bytes> = places.iter().map(|place| place.position().expect("a position").order).collect();
    assert!(orders.is_sorted_by(|one, two| one < two), "{orders:?}");
}

#[test]
fn what_is_not_a_snapshot_is_refused() {
    for text in ["", "1", "1:2", "2:1:", "1:5:7", "1:5:3,2", "1:5:a", "3:5:2"] {
        assert_eq!(Snapshot::parse(text).expect_err(text).kind(), ErrorKind::Corrupt);
    }
    assert_eq!(snapshot("10:20:10,14").to_string(), "10:20:10,14");
}

#[test]
fn thousands_of_running_transactions_fit_and_more_are_an_error() {
    let crowd = |count: u64| {
        Snapshot::parse(&format!(
            "1000000000:2000000000:{}",
            (0..count).map(|index| (1_000_000_000 + 100 * index).to_string()).collect::<Vec<_>>().join(",")
        ))
    };
    let place = |count| Place { seen: crowd(count).expect("a snapshot"), ..place("3:3:", None) };
    assert!(place(4_000).position().is_ok());
    assert_eq!(place(20_000).position().expect_err("too many").kind(), ErrorKind::TooLarge);
}

#[test]
fn fuzz_places() {
    use smache_fuzz::{Edits, bounded, damaged, fuzz};

    type Running = (u32, Vec<u16>);
    type Parts = (String, [Running; 2], Vec<(String, i64)>, Option<i64>);
    fuzz::<(Parts, Edits)>(|((history, [seen, target], columns, row), edits)| {
        let snapshot = |(xmin, steps): &Running| {
            let step = |last: &mut u64, step: &u16| {
                *last += u64::from(*step) + 1;
                Some(*last)
            };
            let running: Vec<u64> = steps.iter().scan(u64::from(*xmin), step).collect();
            let xmax = running.last().map_or(u64::from(*xmin), |last| last + 1);
            let running: Vec<String> = running.iter().map(u64::to_string).collect();
            let text = format!("{xmin}:{xmax}:{}", running.join(","));
            let snapshot = Snapshot::parse(&text).expect("a snapshot");
            assert_eq!(snapshot.to_string(), text);
            snapshot
        };
        let place = Place {
            history: history.clone(),
            seen: snapshot(seen),
            columns: columns.iter().cloned().collect(),
            reading: row.map(|row| Reading { target: snapshot(target), row }),
        };
        let position = place.position().expect("few transactions run");
        assert_eq!(Place::restore(&position).expect("a place"), place);
        let token = Bytes::from(damaged(&position.token, edits));
        let restored = bounded(token.len(), || Place::restore(&Position { token: token.clone(), ..position.clone() }));
        if let Ok(place) = restored {
            let again = place.position().expect("it is as small");
            assert_eq!(Place::restore(&again).expect("a place"), place);
        }
        let text = smache_fuzz::damaged_text(&snapshot(seen).to_string(), edits);
        if let Ok(snapshot) = Snapshot::parse(&text) {
            snapshot.order();
            assert_eq!(Snapshot::parse(&snapshot.to_string()).expect("a snapshot"), snapshot);
        }
    });
}
