//! `siegel processdata`, through the built binary.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The program, asked one line at a time.
struct Asked {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Asked {
    fn new() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_siegel"))
            .arg("processdata")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// The answer to a line. It must come before the next line is asked, or this never ends.
    fn ask_line(&mut self, line: &[u8]) -> Value {
        self.input.write_all(line).unwrap();
        self.input.write_all(b"\n").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "{answer:?}");
        serde_json::from_str(&answer).unwrap()
    }

    fn ask(&mut self, input: &Value) -> Value {
        self.ask_line(input.to_string().as_bytes())
    }

    #[track_caller]
    fn refuses_line(&mut self, line: &[u8]) {
        let answer = self.ask_line(line);
        let reason = answer["refused"].as_str().unwrap();
        assert!(reason.len() > 10, "{answer}");
        assert_eq!(answer, json!({ "refused": reason }));
    }

    /// Ends the input; the program must end well and have nothing more to say.
    fn end(self) {
        drop(self.input);
        let mut output = self.output;
        let mut rest = String::new();
        assert_eq!(output.read_line(&mut rest).unwrap(), 0, "{rest}");
        let ended = self.child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0));
        assert_eq!(ended.stderr, b"");
    }
}

/// Asks for every vector and every reject of a document; how many there were.
fn ask_all(document: &Value) -> (usize, usize) {
    let mut asked = Asked::new();
    let list = |name: &str| document[name].as_array().unwrap();
    for vector in list("vectors") {
        assert_eq!(
            asked.ask(&vector["input"]),
            json!({ "processData": vector["processData"] }),
            "{}",
            vector["id"]
        );
    }
    for reject in list("reject") {
        asked.refuses_line(reject["input"].to_string().as_bytes());
    }
    asked.end();
    (list("vectors").len(), list("reject").len())
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_published_vectors_hold_and_the_published_rejects_are_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../shared/testdata/processdata/vectors.json");
    if !path.exists() {
        let needed = std::env::var_os("SIEGEL_NEED_SHARED").is_some_and(|value| value == "1");
        assert!(!needed, "{} is missing", path.display());
        println!("skipped: there is no {}", path.display());
        return;
    }
    let (vectors, rejects) = ask_all(&document(&path));
    println!("read 1 file: {vectors} vectors, {rejects} rejects");
    assert!(vectors >= 30 && rejects >= 5, "{vectors} {rejects}");
}

#[test]
fn our_own_vectors_hold_and_our_own_rejects_are_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (vectors, rejects) = ask_all(&document(
        &root.join("tests/vectors/processdata/strict.json"),
    ));
    assert!(vectors >= 20 && rejects >= 100, "{vectors} {rejects}");
}

#[test]
fn no_line_stops_it_and_each_has_one_answer() {
    let mut asked = Asked::new();
    let long = format!("\"{}\"", "x".repeat(3 << 20));
    let deep = "[".repeat(100_000);
    let lines: [&[u8]; 12] = [
        b"",
        b" ",
        b"no json",
        b"{",
        b"{}{}",
        b"\xFF\xFE",
        b"\0",
        b"\"half a pair \\ud800\"",
        b"null",
        b"[]",
        deep.as_bytes(),
        long.as_bytes(),
    ];
    for line in lines {
        asked.refuses_line(line);
    }
    let order =
        json!({ "processType": "Bestellung-V1", "lines": [["1", "A", "1"], ["1", "B", "2"]] });
    let answer = json!({ "processData": "1;\"A\";1.00\r1;\"B\";2.00" });
    assert_eq!(asked.ask(&order), answer);
    // A line may end as on Windows.
    assert_eq!(asked.ask_line(format!("{order}\r").as_bytes()), answer);
    asked.end();
}

#[test]
fn the_last_line_needs_no_end() {
    let mut asked = Asked::new();
    let text = json!({ "processType": "SonstigerVorgang", "text": "x" }).to_string();
    asked.input.write_all(text.as_bytes()).unwrap();
    drop(asked.input);
    let mut answer = String::new();
    asked.output.read_line(&mut answer).unwrap();
    assert_eq!(answer, "{\"processData\":\"x\"}\n");
    assert_eq!(asked.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_ends_well_when_nobody_listens_any_more() {
    let mut asked = Asked::new();
    asked.ask(&json!(null));
    drop(asked.output);
    // The program may be gone before it has read all of this.
    let _ = asked.input.write_all(&b"null\n".repeat(100_000));
    drop(asked.input);
    assert_eq!(asked.child.wait().unwrap().code(), Some(0));
}
