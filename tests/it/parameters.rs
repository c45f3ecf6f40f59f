//! The parameters that a computed function may take; it gets exactly the values of the caller.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use smache::{Cx, Entity, Result, State, computed};

use crate::{
    functions::Any,
    probe::Probe,
    world::{User, World},
};

#[computed]
async fn nothing() -> u8 {
    7
}

#[computed]
async fn every_role(
    polite: bool,
    cx: &Cx,
    user: Entity<User>,
    probe: State<Probe>,
    other: Entity<User>,
    limit: State<Limit>,
    extra: i64,
) -> Result<String, Any> {
    probe.pass("every_role").await?;
    let third = cx.load::<User>(&extra).await?.map_or_else(|| "nobody".to_owned(), |user| user.name.clone());
    Ok(format!("{polite} {} {} {third} {}", user.name, other.name, limit.0))
}

#[computed]
async fn roles_in_another_order(
    extra: i64,
    other: Entity<User>,
    limit: State<Limit>,
    user: Entity<User>,
    cx: &Cx,
    polite: bool,
) -> Result<String, Any> {
    let third = cx.entity::<User>(&extra).await?;
    Ok(format!("{polite} {} {} {} {}", user.name, other.name, third.name, limit.0))
}

struct Limit(u8);

#[computed]
async fn echo(text: String) -> String {
    text
}

#[computed]
async fn length(text: String) -> usize {
    text.len()
}

#[computed]
#[expect(clippy::too_many_arguments, reason = "one of each width")]
#[rustfmt::skip]
async fn numbers(a: u8, b: u16, c: u32, d: u64, e: u128, f: i8, g: i16, h: i32, i: i64, j: i128, k: usize, l: (f32, f64)) -> String {
    format!("{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {} {}", l.0, l.1)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u32),
    Segment(i8, i8),
    Named { name: String, sides: Option<u8> },
}

#[computed]
async fn shape(shape: Shape) -> String {
    format!("{shape:?}")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Filter {
    words: Vec<String>,
    limit: Option<u32>,
    #[serde(default)]
    deep: Option<Box<Filter>>,
    unit: (),
    mark: char,
}

#[computed]
async fn filter(filter: Filter) -> String {
    format!("{filter:?}")
}

#[computed]
async fn options(a: Option<u8>, b: Option<String>, c: Option<(u8, Option<u8>)>) -> String {
    format!("{a:?} {b:?} {c:?}")
}

#[computed]
async fn collections(
    list: Vec<i64>,
    tuple: (u8, String, [u16; 3]),
    sorted: BTreeMap<(u8, Shape), Vec<u8>>,
    set: BTreeSet<String>,
    hashed: HashMap<String, f64>,
    nested: HashMap<u64, HashMap<bool, u8>>,
) -> String {
    let hashed = BTreeMap::from_iter(hashed);
    format!("{list:?} {tuple:?} {sorted:?} {set:?} {hashed:?} {nested:?}")
}

#[computed]
async fn largest(of: HashSet<u64>) -> Option<u64> {
    of.into_iter().max()
}

#[computed]
async fn bytes(as_bytes: ByteBuf, as_list: Vec<u8>) -> (usize, u64) {
    (as_bytes.len(), as_list.iter().copied().map(u64::from).sum())
}

#[computed]
async fn first_words(texts: Vec<String>, count: usize) -> Vec<String> {
    texts.iter().map(|text| text.split(' ').take(count).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_function_may_take_nothing_at_all() -> Result<()> {
    let smache = World::memory().builder().register::<nothing>().build().await?;
    assert_eq!(*smache.get(nothing()).await?, 7);
    assert!(smache.get(nothing()).await?.is_fresh());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn entities_states_the_context_and_raw_arguments_come_in_any_order() -> Result<()> {
    let world = World::memory();
    for (id, name) in [(1, "Anna"), (2, "Ben"), (3, "Cleo")] {
        world.put(id, name).await?;
    }
    let builder = world.builder().state(Limit(9)).register::<every_role>().register::<roles_in_another_order>();
    let smache = builder.build().await?;
    assert_eq!(*smache.get(every_role(true, 1, 2, 3)).await?, "true Anna Ben Cleo 9");
    assert_eq!(*smache.get(every_role(true, 2, 1, 3)).await?, "true Ben Anna Cleo 9");
    assert_eq!(*smache.get(every_role(false, 1, 1, 4)).await?, "false Anna Anna nobody 9");
    assert_eq!(*smache.get(roles_in_another_order(3, 2, 1, true)).await?, "true Anna Ben Cleo 9");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn every_entity_of_a_call_is_a_dependency_and_states_are_not_part_of_the_key() -> Result<()> {
    let world = World::memory();
    for id in 1..=4 {
        world.put(id, format!("user {id}")).await?;
    }
    let smache = world.builder().state(Limit(1)).register::<every_role>().build().await?;
    let call = || every_role(true, 1, 2, 3);
    assert_eq!(*smache.get(call()).await?, "true user 1 user 2 user 3 1");
    for changed in 1..=3 {
        world.put(changed, format!("other {changed}")).await?;
        smache.run_until_idle().await?;
        let runs = usize::try_from(changed).expect("small") + 1;
        assert_eq!(world.probe.runs(), runs, "user {changed} counts");
    }
    world.put(4, "other 4").await?;
    smache.run_until_idle().await?;
    assert_eq!(world.probe.runs(), 4, "user 4 does not");
    assert_eq!(*smache.get(call()).await?, "true other 1 other 2 other 3 1");

    let other_state = world.builder().state(Limit(2)).register::<every_role>().build().await?;
    assert_eq!(*other_state.get(call()).await?, "true other 1 other 2 other 3 1", "the stored one");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn strings_of_any_content_come_back_as_they_are() -> Result<()> {
    let smache = World::memory().builder().register::<echo>().build().await?;
    let texts = [
        "",
        " ",
        "a/b",
        "a",
        "b",
        "~~~",
        ":",
        "::",
        "\0",
        "\0\0",
        "a\0",
        "null",
        "{}",
        "[]",
        "\"",
        "\\",
        "\\\"",
        "'",
        "%00",
        "ä",
        "a\u{308}",
        "🦀",
        "\u{202e}",
        "\r\n",
        "\n",
        "{{hash}}",
        "*",
        "?",
        "__proto__",
        "$where",
        "'; DROP TABLE users; --",
        "1",
        "1.0",
        "true",
        "\u{feff}",
        "\u{ffff}",
        "\u{10ffff}",
    ];
    for text in texts {
        assert_eq!(*smache.get(echo(text.to_owned())).await?, text);
        assert_eq!(*smache.get(echo(text.to_owned())).await?, text);
    }
    let stats = smache.inspect().stats().await?;
    assert_eq!(stats.store.entries, texts.len() as u64, "each its own entry");
    assert_eq!(stats.process.runs, texts.len() as u64, "each computed once");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn strings_that_differ_in_the_last_of_a_million_bytes_are_different_arguments() -> Result<()> {
    let smache = World::memory().builder().register::<length>().build().await?;
    let long = "x".repeat(1 << 20);
    let mut one = long.clone();
    let mut two = long;
    one.push('1');
    two.push('2');
    assert_ne!(smache.inspect().entry_id(&length(one.clone()))?, smache.inspect().entry_id(&length(two.clone()))?);
    assert_eq!(*smache.get(length(one)).await?, (1 << 20) + 1);
    assert_eq!(*smache.get(length(two)).await?, (1 << 20) + 1);
    assert_eq!(smache.inspect().stats().await?.store.entries, 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn numbers_of_all_widths_keep_their_extremes() -> Result<()> {
    let smache = World::memory().builder().register::<numbers>().build().await?;
    let large = numbers(
        u8::MAX,
        u16::MAX,
        u32::MAX,
        u64::MAX,
        u128::MAX,
        i8::MAX,
        i16::MAX,
        i32::MAX,
        i64::MAX,
        i128::MAX,
        usize::MAX,
        (f32::MAX, f64::INFINITY),
    );
    let text = smache.get(large).await?;
    assert!(text.contains(&u128::MAX.to_string()) && text.contains(&i128::MAX.to_string()), "{text}");
    assert!(text.ends_with(&format!("{} {}", f32::MAX, f64::INFINITY)), "{text}");
    let small =
        numbers(0, 0, 0, 0, 0, i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, 0, (f32::MIN_POSITIVE, f64::MIN));
    let text = smache.get(small).await?;
    assert!(text.contains(&i128::MIN.to_string()), "{text}");
    assert!(text.ends_with(&format!("{} {}", f32::MIN_POSITIVE, f64::MIN)), "{text}");
    assert_eq!(smache.inspect().stats().await?.store.entries, 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn enums_and_structs_keep_every_variant_and_field() -> Result<()> {
    let smache = World::memory().builder().register::<shape>().register::<filter>().build().await?;
    let shapes = [
        Shape::Point,
        Shape::Circle(3),
        Shape::Segment(3, -3),
        Shape::Named { name: String::new(), sides: None },
        Shape::Named { name: "Point".into(), sides: Some(0) },
    ];
    for each in shapes {
        assert_eq!(*smache.get(shape(each.clone())).await?, format!("{each:?}"));
    }
    let inner = Filter { words: vec![], limit: Some(0), deep: None, unit: (), mark: '\0' };
    let outer = Filter {
        words: vec!["a".into(), "".into()],
        limit: None,
        deep: Some(Box::new(inner.clone())),
        ..inner.clone()
    };
    assert_eq!(*smache.get(filter(inner.clone())).await?, format!("{inner:?}"));
    assert_eq!(*smache.get(filter(outer.clone())).await?, format!("{outer:?}"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn options_at_any_depth_are_told_apart() -> Result<()> {
    let smache = World::memory().builder().register::<options>().build().await?;
    let mut seen = HashSet::new();
    for a in [None, Some(0)] {
        for b in [None, Some(String::new())] {
            for c in [None, Some((0, None)), Some((0, Some(0)))] {
                let text = smache.get(options(a, b.clone(), c)).await?;
                assert_eq!(text, format!("{a:?} {b:?} {c:?}"));
                seen.insert(text.into_inner());
            }
        }
    }
    assert_eq!(seen.len(), 12);
    assert_eq!(smache.inspect().stats().await?.store.entries, 12);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn lists_tuples_sets_and_maps_are_arguments() -> Result<()> {
    let smache = World::memory().builder().register::<collections>().register::<first_words>().build().await?;
    let call = collections(
        vec![1, -1, 0],
        (1, "one".to_owned(), [1, 2, 3]),
        BTreeMap::from([((1, Shape::Point), vec![1, 2]), ((0, Shape::Circle(1)), vec![])]),
        BTreeSet::from(["b".to_owned(), "a".to_owned()]),
        HashMap::from([("half".to_owned(), 0.5), ("most".to_owned(), 0.75)]),
        HashMap::from([(7, HashMap::from([(true, 1)]))]),
    );
    let expected = "[1, -1, 0] (1, \"one\", [1, 2, 3]) {(0, Circle(1)): [], (1, Point): [1, 2]} {\"a\", \"b\"} \
                    {\"half\": 0.5, \"most\": 0.75} {7: {true: 1}}";
    assert_eq!(*smache.get(call).await?, expected);
    let texts = vec!["one two three".to_owned(), String::new(), "four".to_owned()];
    assert_eq!(*smache.get(first_words(texts, 2)).await?, ["one two", "", "four"]);
    Ok(())
}

/// The order of a hashed set is random and serde writes it as a list: that costs a computation, not the result.
#[tokio::test(start_paused = true)]
async fn a_hashed_set_is_an_argument() -> Result<()> {
    let smache = World::memory().builder().register::<largest>().build().await?;
    assert_eq!(*smache.get(largest((0..100).collect())).await?, Some(99));
    assert_eq!(*smache.get(largest(HashSet::new())).await?, None);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn bytes_are_arguments_in_either_form() -> Result<()> {
    let smache = World::memory().builder().register::<bytes>().build().await?;
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(*smache.get(bytes(ByteBuf::from(all.clone()), all)).await?, (256, 32640));
    assert_eq!(*smache.get(bytes(ByteBuf::new(), Vec::new())).await?, (0, 0));
    assert_eq!(*smache.get(bytes(ByteBuf::from([0]), vec![0])).await?, (1, 0));
    assert_eq!(smache.inspect().stats().await?.store.entries, 3);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_body_runs_by_itself_uncached() -> Result<()> {
    let user = Entity::new(User { id: 1, name: "Anna".to_owned() });
    let probe = Probe::default();
    for _ in 0..2 {
        let hello = crate::functions::greeting::run(user.clone(), State::new(probe.clone())).await;
        assert_eq!(hello.as_deref(), Ok("Hello, Anna"));
    }
    assert_eq!(probe.runs(), 2);
    Ok(())
}
