//! The data of a school in memory.

use async_trait::async_trait;
use smache::{Result, memory::MemorySource};

use crate::{
    school::{Course, Grade, Participant, Roster},
    tale::Data,
};

#[derive(Clone, Default)]
pub(crate) struct Tables {
    pub(crate) courses: MemorySource<Course>,
    pub(crate) participants: MemorySource<Participant>,
    pub(crate) grades: MemorySource<Grade>,
}

#[async_trait]
impl Data for Tables {
    async fn insert_course(&self, course: Course) -> Result<()> {
        self.courses.insert(course).map(drop)
    }

    async fn set_title(&self, course: i64, title: &str) -> Result<()> {
        self.courses.update(&course, |course| course.title = title.to_owned()).map(drop)
    }

    async fn insert_participant(&self, participant: Participant) -> Result<()> {
        self.participants.insert(participant).map(drop)
    }

    async fn set_course(&self, participant: i64, course: i64) -> Result<()> {
        self.participants.update(&participant, |participant| participant.course_id = course).map(drop)
    }

    async fn set_name(&self, participant: i64, name: &str) -> Result<()> {
        self.participants.update(&participant, |participant| participant.name = name.to_owned()).map(drop)
    }

    async fn set_login(&self, participant: i64, login: i64) -> Result<()> {
        self.participants.update(&participant, |participant| participant.last_login = login).map(drop)
    }

    async fn delete_participant(&self, participant: i64) -> Result<()> {
        self.participants.remove(&participant).map(drop)
    }

    async fn insert_grade(&self, grade: Grade) -> Result<()> {
        self.grades.insert(grade).map(drop)
    }

    async fn set_points(&self, grade: i64, points: i64) -> Result<()> {
        self.grades.update(&grade, |grade| grade.points = points).map(drop)
    }

    async fn delete_grade(&self, grade: i64) -> Result<()> {
        self.grades.remove(&grade).map(drop)
    }
}

impl Tables {
    pub(crate) fn roster(&self) -> Roster {
        let participants = self.participants.clone();
        Roster::new(move |course| {
            let all = participants.values();
            let ids =
                all.iter().filter(|participant| participant.course_id == course).map(|participant| participant.id);
            std::future::ready(Ok(ids.collect()))
        })
    }
}
