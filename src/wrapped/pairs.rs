//! What does a configuration file of `key = value` say, in sections or without?
//!
//! Many programs have such files, and each its own fine print; here is what vsftpd.conf(5), stunnel(8),
//! dovecot.conf(5), systemd.syntax(7) and the files of /etc/default have in common. `#` and `;` begin
//! comments at the start of a line, `[name]` a section, and a backslash at its end continues a line.

#![forbid(unsafe_code)]

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The section it stands in; empty before the first.
    pub section: Vec<u8>,
    pub key: Vec<u8>,
    /// Without the blanks around it; quotes are kept.
    pub value: Vec<u8>,
    /// The line on which it begins.
    pub line: u32,
}

impl Pair {
    /// Whether it is the setting of a name, in any case of letters, and says yes.
    pub fn says_yes(&self, key: &str) -> bool {
        let yes = ["yes", "true", "1", "on"];
        self.key.eq_ignore_ascii_case(key.as_bytes())
            && yes.iter().any(|word| self.value.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Everything that a text sets, in order.
pub fn pairs(text: &[u8]) -> Vec<Pair> {
    let (mut pairs, mut section) = (Vec::new(), Vec::new());
    let (mut joined, mut begun) = (Vec::new(), None);
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let is_comment = matches!(line.trim_ascii_start().first(), Some(b'#' | b';'));
        // In the middle of a continued line a comment is left out, not continued.
        if is_comment && begun.is_some() {
            continue;
        }
        begun.get_or_insert(number);
        let whole = line.trim_ascii_end();
        if let (Some(piece), false) = (whole.strip_suffix(b"\\"), is_comment) {
            joined.extend_from_slice(piece);
            joined.push(b' ');
            continue;
        }
        joined.extend_from_slice(whole);
        let text = std::mem::take(&mut joined);
        let (text, line) = (text.trim_ascii(), begun.take().unwrap_or(number));
        if is_comment {
            continue;
        }
        if let Some(name) = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
            section = name.trim_ascii().to_vec();
        } else if let Some(at) = text.iter().position(|&byte| byte == b'=') {
            let (key, value) = text.split_at(at);
            let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii().to_vec();
            pairs.push(Pair { section: section.clone(), key: key.trim_ascii().to_vec(), value, line });
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let shown = |pair: &Pair| {
            let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}:[{}]{}={}", pair.line, word(&pair.section), word(&pair.key), word(&pair.value))
        };
        pairs(text.as_bytes()).iter().map(shown).collect()
    }

    #[test]
    fn files_of_pairs_are_read_as_their_programs_read_them() {
        assert_eq!(
            read(" a = b c \n# x=y\n;x=y\n[ s ]\nk=\"v\"\nno pair\n[t]\nk=v=w"),
            ["1:[]a=b c", "5:[s]k=\"v\"", "8:[t]k=v=w"]
        );
        assert_eq!(
            read("[S]\nE=a \\\n  # left out\n  b\\\nc\nF=x\n# g \\\nH=y\nI=z\\"),
            ["2:[S]E=a    b c", "6:[S]F=x", "8:[S]H=y"]
        );
        assert_eq!(read(""), [""; 0]);
    }

    #[test]
    fn yes_is_said_in_some_ways() {
        let says = |text: &str| pairs(text.as_bytes()).iter().any(|pair| pair.says_yes("tcp_wrappers"));
        assert!(says("tcp_wrappers=YES") && says("tcp_wrappers=1") && says("TCP_WRAPPERS = true"));
        assert!(!says("tcp_wrappers=NO") && !says("#tcp_wrappers=YES") && !says("tcp_wrapper=YES"));
    }
}
