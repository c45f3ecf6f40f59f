//! Fuzz targets: rows of the tables of a namespace, whatever is in their cells. A damaged row is corrupt or absent.

use smache_core::{Dependency, EntryId, Epoch, Epochs, SourceId, Token, UsedDependency, Via};
use smache_fuzz::{Edits, bounded, damaged, fuzz};

use crate::{
    cells::Cells,
    changed, job, page,
    programs::{self, name_of},
    record::Rows,
};

/// A cell, of any type.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
}

/// A row of cells; one of another type than the reader wants is an error of the driver.
#[derive(Debug, Clone)]
struct Row(Vec<Cell>);

impl Row {
    fn cell<T>(&self, place: usize, read: impl Fn(&Cell) -> Option<T>) -> Result<Option<T>, sqlx::Error> {
        match self.0.get(place) {
            None => Err(sqlx::Error::ColumnIndexOutOfBounds { index: place, len: self.0.len() }),
            Some(Cell::Null) => Ok(None),
            Some(cell) => read(cell).map(Some).ok_or_else(|| sqlx::Error::ColumnNotFound(place.to_string())),
        }
    }
}

impl Cells for Row {
    fn int(&self, place: usize) -> Result<Option<i64>, sqlx::Error> {
        self.cell(place, |cell| if let Cell::Int(number) = cell { Some(*number) } else { None })
    }

    fn bytes(&self, place: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
        self.cell(place, |cell| if let Cell::Bytes(bytes) = cell { Some(bytes.clone()) } else { None })
    }

    fn text(&self, place: usize) -> Result<Option<String>, sqlx::Error> {
        self.cell(place, |cell| if let Cell::Text(text) = cell { Some(text.clone()) } else { None })
    }
}

/// The kind of the rows of a look-up, two texts, four byte strings and five numbers.
fn row(kind: i64, texts: [Cell; 2], bytes: [Cell; 4], numbers: [i64; 5]) -> Row {
    Row([Cell::Int(kind)].into_iter().chain(texts).chain(bytes).chain(numbers.map(Cell::Int)).collect())
}

fn any_cell((kind, number, bytes): &(u8, i64, Vec<u8>)) -> Cell {
    match kind % 4 {
        0 => Cell::Null,
        1 => Cell::Int(*number),
        2 => Cell::Bytes(bytes.clone()),
        _ => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
    }
}

#[test]
fn fuzz_rows_of_look_ups() {
    type Parts = ([u8; 24], [u8; 16], [i64; 5], Vec<u8>, Vec<[u8; 16]>, Vec<String>);
    type Other = (u8, u8, (u8, i64, Vec<u8>));
    fuzz::<(Parts, Vec<Other>, Edits)>(|((id, epoch, numbers, bytes, used, causes), others, edits)| {
        let text = |text: &str| Cell::Text(text.to_owned());
        let [a, stale, b, c, d] = *numbers;
        let source = SourceId::new("users").expect("a good name");
        let epoch = Epoch::from_bytes(*epoch);
        let epochs = Epochs { global: epoch, sources: vec![(source, epoch)] };
        let one =
            |dependency: &[u8; 16]| UsedDependency { dependency: Dependency::from_bytes(*dependency), via: Via::Child };
        let used: Vec<_> = used.iter().map(one).collect();
        let cell = |bytes: &[u8]| Cell::Bytes(bytes.to_vec());
        let edges = UsedDependency::encode_edges(&used);
        let json = serde_json::to_string(causes).expect("texts are JSON");
        let none = || [Cell::Null, Cell::Null, Cell::Null, Cell::Null];
        let of_epoch = || [cell(epoch.as_bytes()), Cell::Null, Cell::Null, Cell::Null];
        let stale = stale.rem_euclid(3);
        let rows = vec![
            row(0, [text("one"), Cell::Null], of_epoch(), [a, b, c, d, 0]),
            row(1, [text("users"), text("one")], of_epoch(), [a, b, c, d, 0]),
            row(
                2,
                [Cell::Null, Cell::Null],
                [cell(id), cell(&epochs.encode()), cell(bytes), cell(bytes)],
                [a, stale, b, c, d],
            ),
            row(3, [text("paper"), text(&json)], [cell(id), cell(bytes), cell(&edges), Cell::Null], [a, b, c, d, 0]),
            row(4, [Cell::Null, Cell::Null], none(), numbers.to_owned()),
        ];
        let mut read = Rows::read(&rows, "a database").expect("whole rows");
        assert_eq!(read.head.as_ref().expect("a head").validity.epoch, epoch);
        let record = read.take_record(&EntryId::from_bytes(*id)).expect("a record");
        assert_eq!((record.used, record.entry.epochs), (used, epochs));
        assert_eq!(record.causes.iter().map(ToString::to_string).collect::<Vec<_>>(), *causes);

        let mut rows = rows;
        for (row, place, cell) in others.iter().take(3) {
            let count = rows.len();
            let Row(cells) = &mut rows[usize::from(*row) % count];
            let at = usize::from(*place) % cells.len();
            cells[at] = match &cells[at] {
                Cell::Bytes(bytes) if cell.0 % 8 != 2 => Cell::Bytes(damaged(bytes, edits)),
                _ => any_cell(cell),
            };
        }
        let size = 1_000
            + 8 * (bytes.len() + json.len() + edges.len() + others.iter().map(|other| other.2.2.len()).sum::<usize>());
        if let Ok(mut read) = bounded(size, || Rows::read(&rows, "a database")) {
            let id = EntryId::from_bytes(*id);
            assert!(
                !read.entries.contains_key(&id)
                    || read.take_rest(&id).is_some()
                    || rows.iter().any(|row| row.0[0] != Cell::Int(3))
            );
        }
    });
}

#[test]
fn fuzz_rows_of_jobs_programs_and_changes() {
    type Cells = Vec<(u8, i64, Vec<u8>)>;
    fuzz::<(Vec<Cells>, [u8; 16], Edits, Vec<u8>)>(|(rows, token, edits, cursor)| {
        let size = rows.iter().flatten().map(|(.., bytes)| bytes.len() + 64).sum::<usize>() + 64 * rows.len();
        let rows: Vec<Row> = rows.iter().map(|cells| Row(cells.iter().map(any_cell).collect())).collect();
        bounded(size, || {
            let _ = job::counts(&rows);
            let _ = job::listed(&rows, 2, "a database");
            let _ = changed::read(&rows, "a database", (7, &[]));
            for row in &rows {
                let _ = job::found(row, "a database");
                let _ = programs::read(row, 0);
            }
        });
        let id = Token::from_bytes(*token);
        for name in [name_of(&id), smache_fuzz::damaged_text(&name_of(&id), edits)] {
            let row = Row(vec![Cell::Text(name.clone()), Cell::Int(1), Cell::Null]);
            if let Some(program) = programs::read(&row, 0).expect("cells") {
                assert_eq!(name_of(&program.id), name, "a program has one name, by which its row is removed");
            }
        }
        assert_eq!(page::after(Some(cursor)).is_ok(), cursor.len() == EntryId::LEN);
    });
}
