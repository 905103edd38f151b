//! Files as TAR blocks: ustar, and pax where a name is too long for it.

use super::ExportError;
use crate::terms::SeTime;
use tar::{EntryType, Header};

/// Size of everything in a TAR archive, in bytes.
const BLOCK_LEN: usize = 512;
/// Longest name of a ustar header, in bytes.
const NAME_LEN_MAX: usize = 100;
/// Name of a pax header; readers do not look at it.
const PAX_NAME: &str = "PaxHeader";

/// Two blocks of zeros end an archive.
pub(super) const END: [u8; 2 * BLOCK_LEN] = [0; 2 * BLOCK_LEN];

/// Appends one file.
pub(super) fn append(
    out: &mut Vec<u8>,
    name: &str,
    content: &[u8],
    time: SeTime,
) -> Result<(), ExportError> {
    require_legal(name)?;
    if name.len() > NAME_LEN_MAX {
        let record = pax_record("path", name);
        append_entry(out, PAX_NAME, EntryType::XHeader, record.as_bytes(), time)?;
    }
    append_entry(out, name, EntryType::Regular, content, time)
}

fn append_entry(
    out: &mut Vec<u8>,
    name: &str,
    kind: EntryType,
    content: &[u8],
    time: SeTime,
) -> Result<(), ExportError> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
    header.set_mtime(u64::try_from(time.unix_seconds()).unwrap_or_default());
    // Names have no folders, so there is nothing for the library to check or to split.
    let places = header.as_old_mut().name.iter_mut();
    places
        .zip(name.bytes())
        .for_each(|(place, byte)| *place = byte);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(content);
    let padding = content.len().next_multiple_of(BLOCK_LEN) - content.len();
    out.resize(out.len() + padding, 0);
    Ok(())
}

/// `NNN key=value\n`, where NNN counts itself.
fn pax_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + rest.to_string().len();
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    format!("{len} {key}={value}\n")
}

/// The characters of TR-03151-1 Appendix A, and the underscore that every file name has. Names of
/// folders are made of such characters too, but are no names of files.
fn require_legal(name: &str) -> Result<(), ExportError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || " '()+-,.=_".contains(c);
    if ["", ".", ".."].contains(&name) || !name.chars().all(legal) {
        return Err(ExportError::IllegalName(name.to_owned()));
    }
    Ok(())
}
