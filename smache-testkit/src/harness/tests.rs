//! Cases that hang and cases that fail.

use std::panic::catch_unwind;

use super::*;

async fn hasty() -> Harness<()> {
    Harness::new(()).with_bound(Duration::from_millis(20))
}

fn failure(case: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = catch_unwind(case).expect_err("it fails");
    panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text)
}

#[test]
fn hung_case_fails_with_its_name_even_where_the_thread_is_blocked() {
    for blocks in [false, true] {
        let case = move |_| async move {
            match blocks {
                true => loop {
                    thread::park();
                },
                false => std::future::pending().await,
            }
        };
        let text = failure(move || run_case("the_slow_one", hasty, case));
        assert!(text.contains("the case `the_slow_one` is not over after 20ms"), "{text}");
    }
}

#[test]
fn failed_case_fails_with_its_own_message() {
    let text = failure(|| run_case("one", async || Harness::new(()), |_| async { panic!("its seed: {BOUND:?}") }));
    assert_eq!(text, "its seed: 180s");
    run_case("two", async || Harness::new(()), |_| async {});
}
