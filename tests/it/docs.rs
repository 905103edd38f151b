//! What the papers say is there: links, files, and the commands they show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Folders that hold nothing of the project itself.
const NOT_OURS: &[&str] = &["target", "var", "node_modules"];

/// A page of text.
struct Paper {
    path: PathBuf,
    text: String,
}

impl Paper {
    fn name(&self) -> String {
        let path = self.path.strip_prefix(ROOT).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap()
    }

    /// The lines of code blocks, each with its continuation lines.
    fn code_lines(&self) -> Vec<String> {
        let mut inside = false;
        let mut lines: Vec<String> = Vec::new();
        let mut goes_on = false;
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
                goes_on = false;
            } else if inside {
                match lines.last_mut().filter(|_| goes_on) {
                    Some(last) => last.push_str(line),
                    None => lines.push(line.to_owned()),
                }
                goes_on = line.ends_with('\\');
                if let Some(shorter) = lines.last_mut().filter(|_| goes_on) {
                    shorter.pop();
                }
            }
        }
        lines
    }

    /// The text outside of code blocks.
    fn prose(&self) -> String {
        let parts = self.text.split("```");
        parts.step_by(2).collect()
    }

    /// What stands between backticks in the prose.
    fn code_spans(&self) -> Vec<String> {
        let prose = self.prose();
        let spans = prose.split('`').skip(1).step_by(2);
        spans.map(str::to_owned).collect()
    }

    /// Targets of links in the prose that lead into the project.
    fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        targets
            .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
            .map(str::to_owned)
            .collect()
    }
}

fn papers() -> Vec<Paper> {
    let mut found = Vec::new();
    walk(Path::new(ROOT), &mut found);
    found.sort();
    assert!(found.len() > 20, "there are only {} papers", found.len());
    let read = |path: PathBuf| Paper {
        text: std::fs::read_to_string(&path).unwrap(),
        path,
    };
    found.into_iter().map(read).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

fn no_complaints(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let text: String = heading.trim().chars().filter(kept).collect();
    text.to_lowercase().replace(' ', "-")
}

fn broken_links(paper: &Paper) -> Vec<String> {
    let mut complaints = Vec::new();
    for link in paper.links() {
        let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
        let target = match file {
            "" => paper.path.clone(),
            file => paper.folder().join(file),
        };
        if !target.exists() {
            complaints.push(format!("{}: {link} is not there", paper.name()));
        } else if !wanted.is_empty() {
            let text = std::fs::read_to_string(&target).unwrap();
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            if !headings.any(|line| anchor(line.trim_start_matches('#')) == wanted) {
                complaints.push(format!("{}: {link} names no heading", paper.name()));
            }
        }
    }
    complaints
}

/// Names that many files have.
const KINDS: &[&str] = &["mod.rs", "tests.rs"];

/// Files of the source that are named between backticks and are not where the paper says.
fn missing_files(paper: &Paper) -> Vec<String> {
    let places = [
        Path::new(ROOT).to_owned(),
        Path::new(ROOT).join("src"),
        paper.folder().to_owned(),
    ];
    let is_file = |span: &String| {
        [".rs", ".py"].iter().any(|ending| span.ends_with(ending)) && !span.contains([' ', '<'])
    };
    paper
        .code_spans()
        .into_iter()
        .filter(is_file)
        .filter(|span| !KINDS.contains(&span.as_str()))
        .filter(|span| !places.iter().any(|place| place.join(span).exists()))
        .map(|span| format!("{}: there is no {span}", paper.name()))
        .collect()
}

/// The help texts of a program, by subcommand.
struct Helps {
    program: PathBuf,
    known: BTreeMap<Vec<String>, String>,
}

impl Helps {
    fn of(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            known: BTreeMap::new(),
        }
    }

    fn text(&mut self, path: &[String]) -> &str {
        let program = self.program.clone();
        self.known.entry(path.to_vec()).or_insert_with(|| {
            let output = Command::new(&program).args(path).arg("--help").output();
            let output = output.unwrap();
            assert!(output.status.success(), "{program:?} {path:?} has no help");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Names under "Commands:".
    fn subcommands(&mut self, path: &[String]) -> Vec<String> {
        let lines = self.text(path).lines();
        lines
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| line.starts_with(' '))
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    }

    fn takes_value(&mut self, path: &[String], flag: &str) -> bool {
        self.text(path).contains(&format!("{flag} <"))
    }

    fn has_flag(&mut self, path: &[String], flag: &str) -> bool {
        let ends = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        self.text(path).split(ends).any(|word| word == flag)
    }
}

/// What follows each call of a program in a line of shell, up to the end of that command.
fn calls<'l>(line: &'l str, program: &str) -> Vec<Vec<&'l str>> {
    let words: Vec<_> = line.split_whitespace().collect();
    let is_call = |word: &str| {
        let word = word.trim_start_matches(['(', '"', '$']);
        word == program || word.ends_with(&format!("/{program}"))
    };
    let starts = (0..words.len()).filter(|at| is_call(words[*at]));
    let arguments = |at: usize| {
        let rest = words[at + 1..].iter().copied();
        rest.take_while(|word| !["|", "&&", "||", ";", ">", "<", "#", "&"].contains(word))
            .collect()
    };
    starts.map(arguments).collect()
}

/// Subcommands and flags that `siegel` does not have.
fn wrong_calls(line: &str, helps: &mut Helps) -> Vec<String> {
    let mut complaints = Vec::new();
    for call in calls(line, "siegel") {
        let mut path: Vec<String> = Vec::new();
        let mut words = call.iter();
        while let Some(word) = words.next() {
            let subcommands = helps.subcommands(&path);
            let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            if let Some(flag) = name.split('=').next().filter(|name| name.starts_with("--")) {
                if !helps.has_flag(&path, flag) {
                    complaints.push(format!("siegel {} has no {flag}", path.join(" ")));
                }
                if !name.contains('=') && helps.takes_value(&path, flag) {
                    words.next();
                }
            } else if subcommands.iter().any(|known| known == name) {
                path.push(name.to_owned());
            } else if !subcommands.is_empty() {
                complaints.push(format!("siegel {} has no {name}", path.join(" ")));
                break;
            }
        }
    }
    complaints
}

#[test]
fn every_link_of_a_paper_leads_somewhere() {
    let papers = papers();
    let links: usize = papers.iter().map(|paper| paper.links().len()).sum();
    assert!(links > 20, "there are only {links} links");
    no_complaints(&papers.iter().flat_map(broken_links).collect::<Vec<_>>());
}

#[test]
fn every_source_file_that_a_paper_names_is_there() {
    no_complaints(&papers().iter().flat_map(missing_files).collect::<Vec<_>>());
}

#[test]
fn commands_that_papers_show_exist() {
    let mut helps = Helps::of(env!("CARGO_BIN_EXE_siegel"));
    let mut seen = 0;
    let mut complaints = Vec::new();
    for paper in papers() {
        let lines = paper.code_lines().into_iter().chain(paper.code_spans());
        for line in lines {
            seen += calls(&line, "siegel").len();
            let wrong = wrong_calls(&line, &mut helps);
            complaints.extend(
                wrong
                    .iter()
                    .map(|wrong| format!("{}: {wrong}", paper.name())),
            );
        }
    }
    assert!(seen > 20, "there are only {seen} commands");
    no_complaints(&complaints);
}

#[test]
fn scripts_that_papers_show_exist_with_their_flags() {
    let mut helps = Helps::of(Path::new(ROOT).join("scripts/quickstart"));
    let mut complaints = Vec::new();
    for paper in papers() {
        for line in paper.code_lines().into_iter().chain(paper.code_spans()) {
            let scripts = line
                .split_whitespace()
                .filter(|word| word.starts_with("scripts/"));
            let missing = scripts.filter(|word| !Path::new(ROOT).join(word).exists());
            complaints.extend(missing.map(|word| format!("{}: no {word}", paper.name())));
            for call in calls(&line, "quickstart") {
                let flags = call.iter().filter(|word| word.starts_with("--"));
                let unknown = flags.filter(|flag| !helps.has_flag(&[], flag));
                complaints.extend(unknown.map(|flag| format!("{}: no {flag}", paper.name())));
            }
        }
    }
    no_complaints(&complaints);
}

#[test]
fn papers_that_are_wrong_are_noticed() {
    let paper = Paper {
        path: Path::new(ROOT).join("README.md"),
        text: "See [x](no/such.md), [y](README.md#no-such-heading), [z](https://example.org/), \
            `src/no_such.rs`.\n"
            .to_owned(),
    };
    assert_eq!(broken_links(&paper).len(), 2);
    assert_eq!(missing_files(&paper).len(), 1);
    let mut helps = Helps::of(env!("CARGO_BIN_EXE_siegel"));
    let mut wrong = |line: &str| wrong_calls(line, &mut helps).len();
    assert_eq!(wrong("siegel serve --config FILE --no-such-flag"), 1);
    assert_eq!(wrong("target/release/siegel unknown"), 1);
    assert_eq!(wrong("siegel hsm sign"), 1);
    assert_eq!(wrong("siegel admin --config FILE api-key forget KEY"), 1);
    assert_eq!(wrong("siegel admin --config FILE api-key revoke KEY"), 0);
    assert_eq!(wrong("siegel verify --json FILE | jq .archives"), 0);
}

#[test]
fn the_results_of_the_benchmark_end_with_its_notes() {
    let read = |name: &str| {
        let file = Path::new(ROOT).join("benches").join(name);
        std::fs::read_to_string(file).unwrap()
    };
    let (results, notes) = (read("RESULTS.md"), read("NOTES.md"));
    assert!(results.trim_end().ends_with(notes.trim_end()));
}
