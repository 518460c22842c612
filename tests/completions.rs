//! Are the completions of shells those of the command lines, and do shells offer what a user expects?
//!
//! `etc/completions` is written by clap_complete from the very description by which each program reads its
//! command line. A difference is a failure; `UPDATE_GOLDEN=1` writes the files anew. With `TCPD_REAL=1` bash,
//! zsh and fish load them and are asked.
#![forbid(unsafe_code)]

use clap::Command;
use clap_complete::{Shell, generate};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use wrap::inquiry;
use wrap::invocation::{self, tcpdchk, tcpdcompile, tools};

type Describe = fn() -> Command;

/// The programs, and what describes their command lines.
const PROGRAMS: [(&str, Describe); 6] = [
    ("tcpd", tcpd),
    ("tcpdchk", tcpdchk::command),
    ("tcpdmatch", inquiry::command),
    ("tcpdcompile", tcpdcompile::command),
    ("try-from", tools::try_from),
    ("safe_finger", tools::safe_finger),
];

/// What is written for zsh cannot have a colon in the name of a value.
fn tcpd() -> Command {
    invocation::command().mut_arg("listen", |argument| argument.value_name("ADDRESS"))
}

fn place(shell: Shell, program: &str) -> PathBuf {
    let file = match shell {
        Shell::Zsh => format!("zsh/_{program}"),
        Shell::Fish => format!("fish/{program}.fish"),
        _ => format!("bash/{program}"),
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/completions").join(file)
}

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

#[test]
fn the_completions_are_those_of_the_command_lines() {
    let is_to_be_written = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    for shell in SHELLS {
        for (program, describe) in PROGRAMS {
            let mut text = Vec::new();
            generate(shell, &mut describe(), program, &mut text);
            let path = place(shell, program);
            if is_to_be_written {
                fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
                fs::write(&path, &text).expect("it is written");
            }
            let written = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let is_same = written == text;
            assert!(is_same, "{} is not that of {program}: UPDATE_GOLDEN=1 writes it", path.display());
        }
        let directory = place(shell, "tcpd");
        let files = fs::read_dir(directory.parent().expect("a directory")).expect("it is read");
        assert_eq!(files.count(), PROGRAMS.len(), "{shell}");
    }
}

/// What is typed, and what it becomes. The last word is completed, in a directory with `rules.allow`.
const TYPED: [(&str, &str); 13] = [
    ("tcpdchk --fo", "--format"),
    ("tcpdchk --format sh", "short"),
    ("tcpdchk --allow rules.a", "rules.allow"),
    ("tcpdchk --test rules.a", "rules.allow"),
    ("tcpdmatch --format js", "json"),
    ("tcpdmatch --expect del", "delegated"),
    ("tcpdmatch --replay rules.a", "rules.allow"),
    ("tcpdcompile --sta", "--status"),
    ("tcpd --log jou", "journal"),
    ("tcpd --listen sy", "systemd"),
    ("tcpd --max-p", "--max-per-client"),
    ("try-from --ver", "--version"),
    ("safe_finger --he", "--help"),
];

/// bash: the function that the file registers, called as readline calls it; where it has nothing to offer,
/// files are what `-o default` offers.
const BASH: &str = r#"
for file in "$1"/bash/*; do . "$file"; done
# Only readline knows which completion is going on.
compopt() { :; }
while read -r -a COMP_WORDS; do
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    [[ $(complete -p "${COMP_WORDS[0]}") =~ '-F '([^ ]+) ]]
    "${BASH_REMATCH[1]}" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    [[ ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f "${COMP_WORDS[COMP_CWORD]}"))
    echo "${COMPREPLY[@]}"
done
"#;

/// zsh: a shell at a terminal, a tab, and a key that shows the line.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell "PS1=; fpath=($1/zsh \$fpath); autoload -Uz compinit; compinit -D -u
show() { print -r -- \"<\$BUFFER>\"; BUFFER= }; zle -N show; bindkey '^Xs' show; bindkey '^I' complete-word
print rea''dy"
zpty -r shell seen '*ready*'
while read -r line; do
    zpty -w -n shell "$line"$'\t\x18s'
    zpty -r shell seen '*<*>*'
    seen=${${seen##*<}%%>*}
    print -r -- ${${=seen}[-1]}
done
"#;

/// fish: its own question for completions.
const FISH: &str = r#"
for file in $argv[1]/fish/*; source $file; end
while read -l line
    complete -C "$line" | string replace -r '\t.*' '' | string join ' '
end
true
"#;

#[test]
fn shells_offer_what_a_user_expects() {
    if std::env::var_os("TCPD_REAL").is_none_or(|value| value != "1") {
        let line = "SKIPPED: no shell is asked for completions without TCPD_REAL=1\n";
        return std::io::stderr().write_all(line.as_bytes()).expect("standard error");
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("completions-{}", std::process::id()));
    fs::create_dir_all(&scratch).expect("a directory");
    fs::write(scratch.join("rules.allow"), "").expect("a file");
    let completions = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/completions");
    let typed: String = TYPED.iter().map(|(line, _)| format!("{line}\n")).collect();
    for (shell, before, script) in [
        ("bash", &["--norc", "-c"][..], BASH),
        ("zsh", &["-f", "-c"], ZSH),
        ("fish", &["--no-config", "-c"], FISH),
    ] {
        let mut command = Program::new("timeout");
        command.args(["60", shell]).args(before).arg(script);
        // fish has no name of the script among its arguments.
        command.args((shell != "fish").then_some(shell)).arg(&completions);
        command.current_dir(&scratch).env("TERM", "dumb").env("HOME", &scratch);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().expect("timeout(1)");
        running.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("it reads");
        let said = running.wait_with_output().expect("it ends");
        let complaints = String::from_utf8_lossy(&said.stderr);
        let offered = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && complaints.is_empty(), "{shell}: {complaints} {offered}");
        let offered: Vec<_> = offered.lines().map(|line| line.trim_end().trim_end_matches('=')).collect();
        let expected = TYPED.map(|(_, word)| word);
        assert_eq!(offered, expected, "{shell}");
    }
    fs::remove_dir_all(&scratch).expect("the directory");
}
