//! `siegel processdata`: writes processData from the words of DSFinV-K, one input a line.
//!
//! Invariant: each line in gives exactly one line out, written through at once, so that another
//! program can ask and wait; no input ends the run.

use crate::receipt::encode_strictly;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::io::{BufRead, ErrorKind, Read as _, Write};

/// Longest line; an order of that size would be refused at the HTTP door as well.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Arguments of `siegel processdata`.
#[derive(Debug, clap::Args)]
pub(super) struct ProcessDataArgs {}

/// Answers the lines of stdin on stdout until its end.
pub(super) fn run(_: &ProcessDataArgs) -> anyhow::Result<()> {
    answer(std::io::stdin().lock(), std::io::stdout().lock())
}

fn answer(mut input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    while let Some(line) = next_line(&mut input).context("cannot read the next line")? {
        let reply = match line {
            Line::Whole(bytes) => reply(&bytes),
            Line::TooLong => refused("the line is longer than 1 MiB"),
        };
        match writeln!(output, "{reply}").and_then(|()| output.flush()) {
            Ok(()) => {}
            // Nobody wants to know any more.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("cannot write the answer"),
        }
    }
    Ok(())
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// The next line without its end, or `None` at the end of input. Of a line that is too long no more
/// than the limit is ever held.
fn next_line(input: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    // One byte more than fits, for the line's end.
    let limit = u64::try_from(LINE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    if input.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.pop_if(|last| *last == b'\n').is_none() && bytes.len() > LINE_BYTES_MAX {
        input.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Whole(bytes)))
}

fn reply(line: &[u8]) -> Value {
    let Ok(input) = serde_json::from_slice(line) else {
        return refused("the line is no JSON");
    };
    match encode_strictly(&input) {
        Ok(process_data) => json!({ "processData": process_data }),
        Err(error) => refused(&error.to_string()),
    }
}

fn refused(reason: &str) -> Value {
    json!({ "refused": reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &[u8]) -> Vec<Value> {
        let mut output = Vec::new();
        answer(input, &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn free_text(len: usize) -> String {
        let around = json!({ "processType": "SonstigerVorgang", "text": "" }).to_string();
        let text = "x".repeat(len - around.len());
        json!({ "processType": "SonstigerVorgang", "text": text }).to_string()
    }

    #[test]
    fn no_line_has_no_answer_and_every_other_one_has_one() {
        assert!(answers(b"").is_empty());
        assert_eq!(answers(b"\n"), [refused("the line is no JSON")]);
        assert_eq!(answers(b"{}\n\nnull\r\n\xFF").len(), 4);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let fits = free_text(LINE_BYTES_MAX);
        let long = free_text(LINE_BYTES_MAX + 1);
        let too_long = refused("the line is longer than 1 MiB");
        let all = answers(format!("{fits}\n{long}\n{fits}").as_bytes());
        assert!(all[0]["processData"].is_string());
        assert_eq!(all[1], too_long);
        assert!(all[2]["processData"].is_string());
        assert_eq!(answers(long.as_bytes()), [too_long]);
        assert!(answers(fits.as_bytes())[0]["processData"].is_string());
    }

    #[test]
    fn nesting_without_end_is_no_json_to_us() {
        let deep = "[".repeat(100_000);
        assert_eq!(answers(deep.as_bytes()), [refused("the line is no JSON")]);
    }
}
