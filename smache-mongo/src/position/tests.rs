use super::*;

/// Tokens of MongoDB 7 in the order of the history: a start, an insert, another one of the same transaction, and a
/// place between changes.
const SORTED: [&str; 4] = [
    "8265A1B2C3000000012B0429296E1404",
    "8265A1B2C3000000022B042C0100296E5A1004A1463C6F7570657261",
    "8265A1B2C3000000022B042C0101296E5A1004A1463C6F7570657261",
    "8265A1B2C4000000012B0429296E1404",
];

fn sorted(data: &str) -> RawDocumentBuf {
    rawdoc! { "_data": data }
}

/// As SecantusDB writes them: the length comes first, so they do not sort.
fn unsorted(time: (u32, u32), padding: &str) -> RawDocumentBuf {
    let inner = rawdoc! { "s": 1, "t": Timestamp { time: time.0, increment: time.1 }, "n": padding };
    rawdoc! { "_data": inner.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>() }
}

fn at(time: u32, increment: u32) -> ClusterTime {
    Timestamp { time, increment }.into()
}

fn begun(token: &RawDocument, time: ClusterTime) -> Place {
    Place::start(token, time, &Identity::default())
}

#[test]
fn a_saved_position_is_the_place_that_it_was() {
    let mut place = begun(&sorted(SORTED[0]), at(1, 1));
    place.advance(&sorted(SORTED[1]), None);
    for key in [rawdoc! { "_id": 7 }, rawdoc! { "_id": "x".repeat(2_000) }] {
        place.set_last(LastChange::new(Timestamp { time: 7, increment: 1 }, "users", &key));
        assert_eq!(Place::restored(&place.position()).expect("a position"), place);
        assert!(place.position().token.len() < 1_500, "a long key is left out");
    }
}

#[test]
fn what_the_server_says_is_saved_with_the_next_move() {
    let mut place = begun(&sorted(SORTED[0]), at(1, 1));
    let before = place.position();
    place.set_identity(Identity::default());
    assert_eq!(place.position(), before, "a position stays what it is until something moves it");
}

#[test]
fn tokens_of_mongodb_are_ordered_by_themselves() {
    let mut place = begun(&sorted(SORTED[0]), at(9, 9));
    let mut orders = vec![place.position().order];
    for token in &SORTED[1..] {
        place.advance(&sorted(token), None);
        orders.push(place.position().order);
    }
    assert!(orders.windows(2).all(|pair| pair[0] < pair[1]), "{orders:?}");
    assert_eq!(
        orders[0][Position::HISTORY..][..9],
        [0x82, 0x65, 0xa1, 0xb2, 0xc3, 0, 0, 0, 1],
        "two leaders of the feed agree on the order"
    );
}

#[test]
fn a_place_behind_a_time_comes_after_all_of_its_changes_and_before_the_next_time() {
    let mut place = begun(&sorted(SORTED[0]), at(9, 9));
    let end = Place::end_of(at(0x65a1_b2c3, 2), &Identity::default());
    for (token, reached) in [(SORTED[1], false), (SORTED[2], false), (SORTED[3], true)] {
        assert_eq!(Place::restored(&place.position()).expect("a position"), place);
        place.advance(&sorted(token), None);
        assert_eq!(place.position().follows(&end), reached, "{token}");
        if token == SORTED[2] {
            place.complete();
            assert!(place.position().follows(&end) && end.follows(&place.position()));
            assert_eq!(place.token().expect("a token"), mongodb::bson::doc! { "_data": token });
        }
    }
    let other = Identity::default();
    assert!(!place.position().follows(&Place::end_of(at(0x65a1_b2c4, 2), &other)), "still to come");
}

#[test]
fn a_stream_may_begin_at_a_time_that_the_server_has_not_given_to_a_change() {
    let time = at(0x65a1_b2c3, 2);
    let mut place = begun(&sorted(SORTED[1]), time);
    assert_eq!(place.unread(), Some(time));
    let mut complete = place.clone();
    complete.complete();
    assert_eq!(complete.unread(), None, "it was looked behind");
    let last = Timestamp { time: 0x65a1_b2c3, increment: 2 };
    place.set_last(LastChange::new(last, "users", &rawdoc! { "_id": 7 }));
    assert_eq!(place.unread(), None, "a change has it");
}

#[test]
fn other_tokens_are_ordered_by_time_and_by_their_sequence_within_it() {
    let mut place = begun(&unsorted((7, 1), "long padding"), at(7, 1));
    let mut orders = vec![place.position().order];
    for (token, time) in [
        (unsorted((7, 1), "a"), Some(at(7, 1))),
        (unsorted((7, 1), "b"), Some(at(7, 1))),
        (unsorted((7, 3), ""), None),
        (unsorted((7, 2), "c"), Some(at(7, 2))),
        (unsorted((256, 0), "d"), Some(at(256, 0))),
    ] {
        place.advance(&token, time);
        orders.push(place.position().order);
        place = Place::restored(&place.position()).expect("a position");
    }
    assert!(orders.windows(2).all(|pair| pair[0] < pair[1]), "{orders:?}");
}

#[test]
fn the_same_token_again_is_the_same_place() {
    let mut place = begun(&unsorted((7, 1), "a"), at(7, 1));
    let before = place.clone();
    place.advance(&unsorted((7, 1), "a"), None);
    assert_eq!(place, before);
}

#[test]
fn a_token_that_no_store_takes_leaves_the_place_before_it() {
    let mut place = begun(&sorted(SORTED[0]), at(1, 1));
    let before = place.clone();
    place.advance(&sorted(&SORTED[1].repeat(1_000)), None);
    assert_eq!(place, before);
    place.advance(&sorted(SORTED[1]), None);
    assert!(place.position() > before.position());
}

#[test]
fn the_server_gets_its_token_back() {
    let place = Place::restored(&begun(&sorted(SORTED[1]), at(1, 1)).position()).expect("a position");
    assert_eq!(place.token().expect("a token"), mongodb::bson::doc! { "_data": SORTED[1] });
}

#[test]
fn a_position_of_another_feed_is_in_no_history_of_this_one() {
    for token in [Bytes::from_static(b"1700000000-0"), sorted(SORTED[1]).into_bytes().into(), Bytes::new()] {
        let position = Position { order: Bytes::from_static(b"7"), token };
        let error = Place::restored(&position).expect_err("not a position");
        assert_eq!(error.kind(), ErrorKind::HistoryLost);
    }
}

#[test]
fn a_token_tells_the_time_that_it_covers() {
    assert_eq!(Covers::of(&sorted(SORTED[3])), Covers::UpTo(at(0x65a1_b2c4, 1)));
    assert_eq!(Covers::of(&unsorted((7, 2), "")), Covers::AtLeast(at(7, 2)));
    for odd in ["", "8", "82", "zz", "ff00", "8265A1B2"] {
        assert_eq!(Covers::of(&sorted(odd)), Covers::Unknown, "{odd:?}");
    }
    assert_eq!(Covers::of(&rawdoc! { "_data": 7 }), Covers::Unknown);
}
