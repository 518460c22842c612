//! Lines of a log, ours and others': what is printed is read back as it was, holds nothing but printable
//! ASCII where it is foreign, and reading anything at all ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wrap::expand;
use wrap::facts::HostName;
use wrap::logline::{Caller, Line, escape, printable};

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b' '..=b'~').contains(byte))
}

fuzz_target!(|input: &[u8]| {
    if let Some(line) = Line::read(input) {
        // What somebody else wrote may be written in other ways, but says the same.
        let text = line.print();
        if !matches!(line, Line::Twist { .. }) {
            assert!(is_printable(&text), "{text:?}");
        }
        assert_eq!(Line::read(&text).map(|again| again.print()), Some(text));
    }

    let mut parts = input.split(|&byte| byte == 0).map(<[u8]>::to_vec);
    let mut part = || parts.next().unwrap_or_default();
    let (user, host, address) = (part(), part(), part());
    let user = (!user.is_empty()).then_some(user);
    let caller = Caller { user: user.clone(), host: host.clone(), address: address.clone() };
    for line in [
        Line::Connect(caller.clone()),
        Line::Refused(caller),
        Line::IpOptions { user: user.clone(), host: host.clone(), options: address },
        Line::SourceRoute { user, host: host.clone() },
    ] {
        let text = line.print();
        assert!(is_printable(&text), "{text:?}");
        assert_eq!(Line::read(&text), Some(line));
    }

    let mut escaped = Vec::new();
    escape(input, b"", &mut escaped);
    assert!(is_printable(&escaped) && !escaped.iter().any(|byte| b" ()".contains(byte)));
    assert!(!printable(input).iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
    for name in [false, true] {
        let cleaned = expand::clean(input, name);
        assert!(!cleaned.starts_with(b"-") && cleaned.len() <= input.len());
    }
    let _ = HostName::from_dns(input);
});
