//! The register of programs: rows beside the leaders', under names that no feed has.

use smache_core::{RegisteredProgram, Token};

use crate::cells::{Cells, timestamp};

const PREFIX: &str = "smache:program:";

/// The name of the row of a program.
pub(crate) fn name_of(id: &Token) -> String {
    format!("{PREFIX}{id}")
}

/// Reads the name, the end of the lease and the notes behind a place of a row; nothing where no program is.
pub(crate) fn read(row: &impl Cells, place: usize) -> Result<Option<RegisteredProgram>, sqlx::Error> {
    // A name in another form would name a program whose row is never found.
    let named = |name: &String| parse(name.strip_prefix(PREFIX)?).filter(|id| name_of(id) == *name);
    let id = row.text(place)?.as_ref().and_then(named);
    let until = timestamp(row.int(place + 1)?.unwrap_or_default());
    let notes = row.bytes(place + 2)?.unwrap_or_default().into();
    Ok(id.map(|id| RegisteredProgram { id, until, notes }))
}

/// A token by its digits.
fn parse(digits: &str) -> Option<Token> {
    let number = u128::from_str_radix(digits, 16).ok()?;
    (digits.len() == 2 * Token::LEN).then(|| Token::from_bytes(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_found_by_its_name() {
        let id = Token::from_bytes([0x0a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        let name = name_of(&id);
        assert_eq!(name.strip_prefix(PREFIX).and_then(parse), Some(id));
        assert_eq!((parse("0a"), parse("x")), (None, None));
    }
}
