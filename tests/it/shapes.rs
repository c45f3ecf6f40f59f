//! A value of another shape is never read, and one that used another version of a function is not fresh.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smache::{Builder, Computed, Cx, Result, Smache, backend::FunctionKey, computed, memory::Memory};

/// The program before the deploy.
mod before {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Profile {
        pub(super) name: String,
        pub(super) inner: Inner,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Inner {
        pub(super) id: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub(super) enum Event {
        Sold { id: u64 },
    }

    #[computed]
    pub(super) async fn profile(id: u64) -> Profile {
        Profile { name: "Ann".into(), inner: Inner { id } }
    }

    #[computed]
    pub(super) async fn event(id: u64) -> Event {
        Event::Sold { id }
    }

    #[computed]
    pub(crate) async fn price(of: u64) -> u64 {
        of
    }

    #[computed(calls(price))]
    pub(super) async fn declared(of: u64, cx: &Cx) -> Result<u64> {
        Ok(*cx.get(price(of)).await? + 1)
    }
}

/// The same functions after it. All written types are the same.
mod after {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Profile {
        pub(super) name: String,
        pub(super) inner: Inner,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Inner {
        pub(super) id: u64,
        pub(super) city: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub(super) enum Event {
        Sold { id: u64, to: Option<String> },
    }

    #[computed]
    pub(super) async fn profile(id: u64) -> Profile {
        Profile { name: "Ann".into(), inner: Inner { id, city: Some("Bonn".into()) } }
    }

    #[computed]
    pub(super) async fn event(id: u64) -> Event {
        Event::Sold { id, to: Some("Ann".into()) }
    }

    #[computed(version = 2)]
    pub(crate) async fn price(of: u64) -> u64 {
        of * 100
    }

    #[computed(calls(price))]
    pub(super) async fn declared(of: u64, cx: &Cx) -> Result<u64> {
        Ok(*cx.get(price(of)).await? + 1)
    }
}

/// A function whose calls are not declared, and one that calls it. One type per program, with the same declaration.
macro_rules! silent {
    ($program:ident) => {
        pub(crate) mod $program {
            pub(crate) use super::super::$program::price;
            use super::*;

            #[computed(id = "total")]
            pub(crate) async fn total(of: u64, cx: &Cx) -> Result<u64> {
                Ok(*cx.get(price(of)).await? + 1)
            }

            #[computed(id = "page")]
            pub(crate) async fn page(of: u64, cx: &Cx) -> Result<String> {
                Ok(format!("total: {}", *cx.get(total(of)).await?))
            }

            pub(crate) fn register(builder: Builder) -> Builder {
                builder.register::<price>().register::<total>().register::<page>()
            }
        }
    };
}

mod undeclared {
    use super::*;

    silent!(before);
    silent!(after);
}

fn program(memory: &Memory) -> Builder {
    Smache::builder("shop").backend(memory.clone())
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_added_deep_within_a_result_makes_another_function() -> Result<()> {
    let memory = Memory::new();
    let old = program(&memory).register::<before::profile>().build().await?;
    old.get(before::profile(7)).await?;
    let new = program(&memory).register::<after::profile>().build().await?;
    assert!(new.peek(after::profile(7)).await?.is_none(), "what is stored has no city");
    assert_eq!(new.get(after::profile(7)).await?.inner.city.as_deref(), Some("Bonn"));
    assert!(old.is_fresh(before::profile(7)).await?, "the old program keeps its own");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_result_that_hides_its_shape_is_compared_with_what_its_type_writes() -> Result<()> {
    let memory = Memory::new();
    let old = program(&memory).register::<before::event>().build().await?;
    old.get(before::event(7)).await?;
    assert!(old.is_fresh(before::event(7)).await?);
    let new = program(&memory).register::<after::event>().build().await?;
    assert_eq!(FunctionKey::of::<before::event>(), FunctionKey::of::<after::event>(), "nothing can be seen of it");
    assert!(new.peek(after::event(7)).await?.is_none(), "what is stored has no buyer");
    assert_eq!(*new.get(after::event(7)).await?, after::Event::Sold { id: 7, to: Some("Ann".into()) });
    assert!(new.is_fresh(after::event(7)).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_declared_call_is_part_of_its_callers_identity() -> Result<()> {
    #[computed(id = "above", calls(before::declared))]
    async fn above_before() {}
    #[computed(id = "above", calls(after::declared))]
    async fn above_after() {}

    assert_ne!(FunctionKey::of::<before::declared>(), FunctionKey::of::<after::declared>());
    assert_ne!(FunctionKey::of::<above_before>(), FunctionKey::of::<above_after>(), "also through others");
    assert_eq!(before::declared::declaration().hash(), after::declared::declaration().hash());
    let memory = Memory::new();
    let old = program(&memory).register::<before::price>().register::<before::declared>().build().await?;
    assert_eq!(*old.get(before::declared(2)).await?, 3);
    let new = program(&memory).register::<after::price>().register::<after::declared>().build().await?;
    assert_eq!(*new.get(after::declared(2)).await?, 201);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn functions_may_declare_that_they_call_each_other() -> Result<()> {
    #[computed(calls(odd, even))]
    async fn even(n: u64, cx: &Cx) -> Result<bool> {
        if n == 0 { Ok(true) } else { Ok(*cx.get(odd(n - 1)).await?) }
    }
    #[computed(calls(even))]
    async fn odd(n: u64, cx: &Cx) -> Result<bool> {
        if n == 0 { Ok(false) } else { Ok(*cx.get(even(n - 1)).await?) }
    }
    let smache = program(&Memory::new()).register::<even>().register::<odd>().build().await?;
    assert!(*smache.get(even(4)).await?);
    assert_eq!(FunctionKey::of::<even>(), FunctionKey::of::<even>());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_value_made_of_another_version_of_a_function_is_not_fresh() -> Result<()> {
    use undeclared::{after, before};

    let memory = Memory::new();
    let old = before::register(program(&memory)).build().await?;
    assert_eq!(*old.get(before::page(2)).await?, "total: 3");
    assert_eq!(FunctionKey::of::<before::page>(), FunctionKey::of::<after::page>());
    let new = after::register(program(&memory)).build().await?;
    for _ in 0..2 {
        let found = new.peek(after::page(2)).await?.expect("stored");
        assert!(!found.is_fresh(), "it is made of the old price, through another call");
        assert!(!new.is_fresh(after::total(2)).await?);
        assert!(old.is_fresh(before::page(2)).await?, "to the old program it is what it was");
    }
    let why = new.inspect().why(after::page(2)).await?.to_string();
    assert!(why.contains("stale"), "{why}");
    assert_eq!(*new.get(after::page(2)).await?, "total: 3", "a reader who takes what is there");
    assert_eq!(*new.get(after::page(2).fresh()).await?, "total: 201");
    assert!(new.is_fresh(after::page(2)).await? && new.is_fresh(after::total(2)).await?);
    assert!(!old.is_fresh(before::page(2)).await?, "and the other way around");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn workers_replace_what_was_made_of_another_version() -> Result<()> {
    use undeclared::{after, before};

    let memory = Memory::new();
    let old = before::register(program(&memory)).build().await?;
    old.get(before::page(2)).await?;
    old.run_until_idle().await?;
    let new = after::register(program(&memory)).build().await?;
    assert_eq!(*new.get(after::page(2)).await?, "total: 3");
    let replaced = async {
        // The reader has asked for the run in the background.
        while !new.is_fresh(after::page(2)).await? {
            tokio::time::sleep(Duration::from_millis(10)).await;
            new.run_until_idle().await?;
        }
        new.peek(after::page(2)).await
    };
    let found = tokio::time::timeout(Duration::from_secs(20), replaced).await.expect("a worker runs it")?;
    assert_eq!(found.as_deref().map(String::as_str), Some("total: 201"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_child_that_comes_out_equal_in_an_older_version_does_not_revalidate_its_caller() -> Result<()> {
    use undeclared::{after, before};

    let memory = Memory::new();
    let old = before::register(program(&memory)).build().await?;
    old.get(before::page(2)).await?;
    let new = after::register(program(&memory)).build().await?;
    // Stale through its child alone, which the old program computes to the same value.
    old.invalidate(before::price(2)).await?;
    assert_eq!(*old.get(before::price(2).fresh()).await?, 2);
    new.run_until_idle().await?;
    assert_eq!(*new.get(after::page(2).fresh()).await?, "total: 201");
    Ok(())
}

/// Types that cannot be traced to their end, or that hold themselves.
mod hidden {
    use std::collections::{BTreeMap, HashSet};

    use serde::{Deserializer, Serializer};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Answer {
        Number { n: u64 },
        Text(String),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum Tree {
        Leaf(u64),
        Both(Box<Tree>, Box<Tree>),
    }

    /// Written as text in a special form, which no sample has.
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct Coupon(pub(super) u32);

    impl Serialize for Coupon {
        fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("coupon#{}", self.0))
        }
    }

    impl<'de> Deserialize<'de> for Coupon {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let number = text.strip_prefix("coupon#").and_then(|number| number.parse().ok());
            number.map(Self).ok_or_else(|| serde::de::Error::custom("no coupon"))
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Everything {
        pub(super) answers: Vec<Answer>,
        pub(super) tree: Tree,
        pub(super) coupon: Coupon,
        pub(super) any: serde_json::Value,
        pub(super) set: HashSet<u64>,
        #[serde(flatten)]
        pub(super) rest: BTreeMap<String, u64>,
    }

    #[computed]
    pub(super) async fn everything(answer: Answer, coupon: Coupon, any: serde_json::Value) -> Everything {
        Everything {
            answers: vec![answer, Answer::Text("b".into())],
            tree: Tree::Both(Box::new(Tree::Leaf(1)), Box::new(Tree::Leaf(2))),
            coupon,
            any,
            set: (0..50).collect(),
            rest: BTreeMap::from([("more".to_owned(), 5)]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn types_that_hide_their_shape_are_arguments_and_results_like_others() -> Result<()> {
    use hidden::{Answer, Coupon, everything};

    let memory = Memory::new();
    let one = program(&memory).register::<everything>().build().await?;
    let other = program(&memory).register::<everything>().build().await?;
    let call = |n: u64| everything(Answer::Number { n }, Coupon(9), serde_json::json!({ "a": [1, null, "x"] }));
    let first = one.get(call(3)).await?;
    for program in [&one, &other] {
        let found = program.get(call(3)).await?;
        assert!(found.is_fresh(), "every program reads it as what it is");
        assert_eq!(*found, *first);
        assert_eq!(program.inspect().stats().await?.process.undecodable, 0);
    }
    assert!(one.peek(call(4)).await?.is_none(), "another argument is another call");
    assert_eq!(one.inspect().stats().await?.process.runs + other.inspect().stats().await?.process.runs, 1);
    one.invalidate(call(3)).await?;
    other.run_until_idle().await?;
    assert!(one.is_fresh(call(3)).await?, "a worker reads the arguments from the store");
    Ok(())
}
