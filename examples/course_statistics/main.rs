//! The statistics of a school: which functions run after each change, and which do not.
//!
//! `cargo run --example course_statistics`

#![expect(clippy::print_stdout, reason = "an example talks to people")]

mod school;

use std::collections::BTreeSet;

use school::{Course, Grade, Log, Participant, Roster, course_score, directory, greeting, participant_score, passed};
use smache::{
    Result, Smache,
    memory::{Memory, MemorySource},
};

const COURSES: i64 = 3;
const PARTICIPANTS: i64 = 30;
const GRADES: i64 = 120;

struct School {
    smache: Smache,
    courses: MemorySource<Course>,
    participants: MemorySource<Participant>,
    grades: MemorySource<Grade>,
    log: Log,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let school = open().await?;
    let School { smache, courses, participants, grades, log } = &school;
    println!("{COURSES} courses, {PARTICIPANTS} participants, {GRADES} grades");
    read_everything(smache).await?;
    let all: BTreeSet<String> = log.take().split(' ').map(str::to_owned).collect();
    println!("first reads: {} results computed", all.len());

    let show = async |change: &str| -> Result<()> {
        smache.run_until_idle().await?;
        let before = smache.inspect().stats().await?.process;
        read_everything(smache).await?;
        let after = smache.inspect().stats().await?.process;
        let ran = log.take();
        let calls: Vec<&str> = ran.split(' ').filter(|call| !call.is_empty()).collect();
        let more = if calls.len() > 8 { ", …" } else { "" };
        let shown = calls[..calls.len().min(8)].join(", ");
        println!("\n{change}\n  recomputed {} of {}, in the background: {shown}{more}", calls.len(), all.len());
        println!("  then {} reads, {} of them fresh", all.len(), after.fresh_hits - before.fresh_hits);
        Ok(())
    };

    println!("\n{}", smache.inspect().impact::<Grade>(&1).await?);
    grades.update(&1, |grade| grade.points += 40)?;
    show("A grade gets better.").await?;
    grades.update(&2, |_| {})?;
    show("A grade is written again with the same points: the mean stays, so `passed` does not run.").await?;
    participants.update(&1, |participant| participant.course_id = 2)?;
    show("A participant moves from the first course to the second: both change.").await?;
    grades.insert(Grade { id: GRADES + 1, participant_id: 6, course_id: 3, points: 100 })?;
    show("A new grade: no function has read it before, but a predicate matches it.").await?;
    grades.remove(&3)?;
    show("A grade is deleted.").await?;
    participants.update(&7, |participant| participant.last_login += 1)?;
    show("A participant logs in: the greeting reads the name alone.").await?;
    courses.update(&1, |course| course.title.push('!'))?;
    show("A course gets another title: the directory reads them all.").await?;
    smache.changed_tag("grading rules").await?;
    show("The rules for grading change: a tag, since they are in no database.").await?;

    grades.update(&1, |grade| grade.points = 0)?;
    smache.peek(course_score(2)).await?;
    while smache.is_fresh(passed(1)).await? {
        tokio::task::yield_now().await;
    }
    println!("\nA grade gets worse, and before a worker has run:\n{}", smache.inspect().why(passed(1)).await?);
    smache.run_until_idle().await?;
    smache.inspect().audit().assert_clean();
    let cut_offs = smache.inspect().stats().await?.process.cut_offs;
    println!("\n{cut_offs} times the engine re-validated a result without running its function.");
    smache.shutdown().await;
    Ok(())
}

async fn open() -> Result<School> {
    let courses = MemorySource::new();
    let participants = MemorySource::new();
    let grades = MemorySource::new();
    for id in 1..=COURSES {
        courses.insert(Course { id, title: format!("Course {id}") })?;
    }
    for id in 1..=PARTICIPANTS {
        participants.insert(Participant {
            id,
            course_id: course_of(id),
            name: format!("Participant {id}"),
            last_login: 0,
        })?;
    }
    for id in 1..=GRADES {
        let participant_id = (id - 1) % PARTICIPANTS + 1;
        grades.insert(Grade { id, participant_id, course_id: course_of(participant_id), points: id * 37 % 100 })?;
    }
    let log = Log::default();
    let table = participants.clone();
    let roster = Roster::new(move |course| {
        let of_it = table.values().into_iter().filter(move |participant| participant.course_id == course);
        let ids = of_it.map(|participant| participant.id).collect();
        async move { Ok(ids) }
    });
    let builder = Smache::builder("school")
        .backend(Memory::new())
        .source(courses.clone())
        .source(participants.clone())
        .source(grades.clone())
        .state(log.clone())
        .state(roster)
        .strict();
    let smache = school::register(builder).build().await?;
    Ok(School { smache, courses, participants, grades, log })
}

fn course_of(participant: i64) -> i64 {
    (participant - 1) % COURSES + 1
}

async fn read_everything(smache: &Smache) -> Result<()> {
    for id in 1..=COURSES {
        smache.get(passed(id)).await?;
        smache.get(course_score(id)).await?;
    }
    for id in 1..=PARTICIPANTS {
        smache.get(participant_score(id)).await?;
        smache.get(greeting(id)).await?;
    }
    smache.get(directory()).await?;
    Ok(())
}
