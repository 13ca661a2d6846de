//! What a newcomer reads first: every help text is kept as a snapshot, so that a change to one is seen.

mod support;

use support::hpd;

/// The help of `hpd`, of each verb, and of their verbs, found by following `Commands:`.
fn helps(verb: &[String]) -> Vec<(String, String)> {
    let mut arguments = verb.to_vec();
    arguments.push("--help".to_owned());
    let help = hpd(&arguments).stdout();
    let mut helps = vec![(
        ["hpd".to_owned()].iter().chain(verb).cloned().collect::<Vec<_>>().join("-"),
        help.clone(),
    )];
    for name in commands(&help) {
        helps.extend(self::helps(&[verb, &[name]].concat()));
    }
    helps
}

fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_help_reads_as_reviewed() {
    let helps = helps(&[]);
    assert!(helps.len() > 10, "only {} help texts were found", helps.len());
    for (name, help) in helps {
        insta::assert_snapshot!(name, help);
    }
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = hpd(&["completions", shell]).stdout();
        assert!(script.contains("max-seq-length"), "{shell} does not know `--max-seq-length`");
    }
}

#[test]
fn every_verb_gets_a_man_page() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    hpd(&["man", "--output", folder.path().to_str().expect("plain path")]).stdout();
    for (name, _) in helps(&[]) {
        let page = folder.path().join(format!("{name}.1"));
        assert!(page.is_file(), "`{}` is missing", page.display());
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(hpd(&["--version"]).stdout(), concat!("hpd ", env!("CARGO_PKG_VERSION"), "\n"));
}
