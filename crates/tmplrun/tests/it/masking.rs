//! Masking, alone: pieces and whole come out equal, and nothing of a secret comes out.

use base64::Engine as _;
use proptest::prelude::*;
use tmplrun::json::parse;
use tmplrun::mask::{MARK, Masker, StreamMask};

fn masker(secrets: &[&str]) -> Masker {
    let masker = Masker::new();
    secrets.iter().for_each(|secret| masker.register(secret.as_bytes()));
    masker
}

#[test]
fn every_form_is_masked() {
    let secret = "pä'ss \"w\\rd&<1>";
    let masker = masker(&[secret]);
    let base64 = base64::engine::general_purpose::STANDARD;
    let forms = [
        secret.to_owned(),
        // Python: repr, ascii, repr of bytes, json.dumps; HTML; percent-encoding; hexadecimal.
        "'pä\\'ss \"w\\\\rd&<1>'".to_owned(),
        "'p\\xe4\\'ss \"w\\\\rd&<1>'".to_owned(),
        "b'p\\xc3\\xa4\\'ss \"w\\\\rd&<1>'".to_owned(),
        "\"p\\u00e4'ss \\\"w\\\\rd&<1>\"".to_owned(),
        "pä&#x27;ss &quot;w\\rd&amp;&lt;1&gt;".to_owned(),
        "p%C3%A4%27ss%20%22w%5Crd%26%3C1%3E".to_owned(),
        "70c3a42773732022775c7264263c313e".to_owned(),
        base64.encode(secret),
    ];
    for form in forms {
        let text = format!("before {form} after");
        let masked = masker.mask(&text);
        assert!(masked.contains(MARK), "{form} is shown: {masked}");
        assert!(masked.starts_with("before ") && masked.ends_with(" after"), "{masked}");
        assert!(!masked.contains("ss"), "a part of {form} is shown: {masked}");
    }
    for before in ["", "a", "ab", "abc", "user:"] {
        let encoded = base64.encode(format!("{before}{secret} and more"));
        assert!(
            masker.mask(&encoded).contains(MARK),
            "base64 after {before:?} is shown: {encoded}"
        );
    }
}

#[test]
fn lines_of_a_key_are_masked_one_by_one() {
    let key = "-----BEGIN KEY-----\nabcdefghijklmnop\nqrstuvwxyz012345\n-----END KEY-----\n";
    let masker = masker(&[key]);
    assert_eq!(masker.mask("x abcdefghijklmnop y"), format!("x {MARK} y"));
    assert_eq!(masker.mask(key), format!("{MARK}\n"));
}

#[test]
fn colours_inside_a_secret_do_not_hide_it() {
    let masker = masker(&["hunter2hunter2"]);
    assert_eq!(
        masker.mask_coloured("key \u{1b}[31mhunter2\u{1b}[0mhunter2!"),
        format!("key {MARK}!")
    );
    assert_eq!(
        masker.mask_coloured("\u{1b}[31mhunter2hunter2\u{1b}[0m"),
        format!("\u{1b}[31m{MARK}\u{1b}[0m")
    );
}

#[test]
fn keys_and_numbers_are_masked_and_no_value_is_lost() {
    let masker = masker(&["hunter2hunter2", "31415926", "data"]);
    let mut value = parse(
        r#"{"hunter2hunter2": 1, "xhunter2hunter2x": 31415926, "31415926": -31415926.5, "data": [3141592, 0.31415926],
            "••••••": true, "hunter2hunter2 ": null}"#,
    )
    .unwrap();
    masker.mask_json(&mut value);
    let masked = serde_json::to_value(&value).unwrap();
    let expected = serde_json::json!({"•••••• 2": 1, "x••••••x": MARK, "•••••• 3": format!("-{MARK}.5"),
        "data": [3_141_592, format!("0.{MARK}")], "••••••": true, "•••••• ": null});
    assert_eq!(masked, expected);
    let again = value.clone();
    masker.mask_json(&mut value);
    assert_eq!(value, again);
}

#[test]
fn blank_secrets_are_ignored() {
    let masker = masker(&["", " ", "\n"]);
    assert!(masker.is_empty());
    assert_eq!(masker.mask("a b\nc"), "a b\nc");
}

#[test]
fn a_secret_registered_in_the_middle_is_masked_from_then_on() {
    let masker = Masker::new();
    let mut stream = StreamMask::default();
    assert_eq!(stream.feed(&masker, "open sesame sesa"), "open sesame sesa");
    masker.register(b"sesame");
    assert_eq!(stream.feed(&masker, " ses"), " ");
    assert_eq!(stream.feed(&masker, "ame."), format!("{MARK}."));
}

fn cut(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let mut places: Vec<usize> = cuts
        .iter()
        .map(|cut| {
            let mut at = cut.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        })
        .collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| text[pair[0]..pair[1]].to_owned())
        .collect()
}

proptest! {
    /// Few letters make overlaps and repetitions likely.
    #[test]
    fn pieces_and_whole_come_out_equal(
        secrets in prop::collection::vec("[abé]{1,5}", 1..4),
        text in "[abécd]{0,60}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let masker = Masker::new();
        secrets.iter().for_each(|secret| masker.register(secret.as_bytes()));
        let whole = masker.mask(&text).into_owned();
        let longest = secrets.iter().map(|secret| secret.len() * 4).max().unwrap_or(0).max(40);
        let mut stream = StreamMask::default();
        let mut pieces = String::new();
        for piece in cut(&text, &cuts) {
            pieces.push_str(&stream.feed(&masker, &piece));
            prop_assert!(stream.held() < longest, "{} bytes are held back", stream.held());
        }
        pieces.push_str(&stream.flush(&masker));
        prop_assert_eq!(&pieces, &whole);
        for secret in &secrets {
            prop_assert!(!pieces.contains(secret.as_str()), "{} is in {}", secret, pieces);
        }
    }

    #[test]
    fn secrets_never_come_out(
        secret in "[ -~]{4,20}",
        before in "[ -~]{0,20}",
        after in "[ -~]{0,20}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assume!(!secret.trim().is_empty());
        let masker = Masker::new();
        masker.register(secret.as_bytes());
        let text = format!("{before}{secret}{after}");
        let mut stream = StreamMask::default();
        let mut out = String::new();
        for piece in cut(&text, &cuts) {
            out.push_str(&stream.feed(&masker, &piece));
        }
        out.push_str(&stream.flush(&masker));
        prop_assert!(!out.contains(&secret));
    }
}
