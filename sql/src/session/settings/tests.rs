//! What settings take and show, as PostgreSQL 15 does.

use super::*;

#[test]
fn values_are_checked_and_normalised() {
    let cases = [
        ("timezone", "europe/berlin", "Europe/Berlin"),
        ("timezone", "3", "<+03>-03"),
        ("timezone", "INTERVAL '5:30'", "<+05:30>-05:30"),
        ("timezone", "-05:30", "-05:30"),
        ("timezone", "UTC+3", "UTC+3"),
        ("timezone", "<+03>-03", "<+03>-03"),
        ("STATEMENT_TIMEOUT", "5s", "5s"),
        ("statement_timeout", "90s", "90s"),
        ("statement_timeout", "1.5s", "1500ms"),
        ("statement_timeout", "2 min", "2min"),
        ("statement_timeout", "36h", "36h"),
        ("statement_timeout", "700us", "1ms"),
        ("statement_timeout", "100us", "0"),
        ("statement_timeout", "0x10", "16ms"),
        ("statement_timeout", "1e3", "1s"),
        ("work_mem", "64MB", "64MB"),
        ("work_mem", "1000", "1000kB"),
        ("work_mem", "1GB", "1GB"),
        ("extra_float_digits", "1.4", "1"),
        ("enable_sort", "of", "off"),
        ("enable_sort", "tr", "on"),
        ("client_min_messages", "debug", "debug2"),
        ("client_encoding", "'utf-8'", "UTF8"),
        ("datestyle", "german", "German, DMY"),
        ("my.x", "5 s", "5 s"),
    ];
    for (name, value, shown) in cases {
        let mut settings = Settings::default();
        settings.set(name, value, false).unwrap_or_else(|error| panic!("{name} = {value}: {error:?}"));
        assert_eq!(settings.shown(name).as_deref(), Some(shown), "{name} = {value}");
    }
}

#[test]
fn bad_values_are_refused_in_the_words_of_postgresql() {
    let cases = [
        ("nosuch", "1", "42704", "unrecognized configuration parameter \"nosuch\""),
        ("a.1b", "1", "42602", "invalid configuration parameter name \"a.1b\""),
        ("server_version", "9", "55P02", "parameter \"server_version\" cannot be changed"),
        ("statement_timeout", "5x", "22023", "invalid value for parameter \"statement_timeout\": \"5x\""),
        ("statement_timeout", "", "22023", "invalid value for parameter \"statement_timeout\": \"\""),
        ("statement_timeout", "30d", "22023", "invalid value for parameter \"statement_timeout\": \"30d\""),
        (
            "statement_timeout",
            "-1",
            "22023",
            "-1 ms is outside the valid range for parameter \"statement_timeout\" (0 .. 2147483647)",
        ),
        ("work_mem", "10kB", "22023", "10 kB is outside the valid range for parameter \"work_mem\" (64 .. 2147483647)"),
        (
            "extra_float_digits",
            "4",
            "22023",
            "4 is outside the valid range for parameter \"extra_float_digits\" (-15 .. 3)",
        ),
        ("enable_sort", "o", "22023", "parameter \"enable_sort\" requires a Boolean value"),
        ("client_encoding", "LATIN1", "22023", "invalid value for parameter \"client_encoding\": \"LATIN1\""),
        ("datestyle", "iso, mdy, ymd", "22023", "invalid value for parameter \"DateStyle\": \"iso, mdy, ymd\""),
        ("timezone", "Mars/Olympus", "22023", "invalid value for parameter \"TimeZone\": \"Mars/Olympus\""),
    ];
    for (name, value, code, message) in cases {
        let error = Settings::default().set(name, value, false).unwrap_err();
        assert_eq!((error.state().code(), error.fields().message.as_str()), (code, message), "{name} = {value}");
    }
    let several = ["a".to_owned(), "b".to_owned()];
    let error = Settings::default().set_list("statement_timeout", Some(&several), false).unwrap_err();
    assert_eq!(error.fields().message, "SET statement_timeout takes only one argument");
}

#[test]
fn lists_of_names_are_quoted() {
    let mut settings = Settings::default();
    let names = ["a", "B", "c d"].map(str::to_owned);
    settings.set_list("search_path", Some(&names), false).unwrap();
    assert_eq!(settings.get("search_path"), Some("a, \"B\", \"c d\""));
}

#[test]
fn reset_comes_back_to_the_startup_value() {
    let mut settings = Settings::default();
    settings.set_at_startup("TimeZone", "Asia/Tokyo").unwrap();
    settings.set("TimeZone", "+8", false).unwrap();
    assert_eq!(settings.zone(), TimeZone::Fixed(8 * 3600));
    settings.reset("timezone").unwrap();
    assert_eq!(settings.zone().name(), "Asia/Tokyo");
}

#[test]
fn what_is_local_ends_with_the_transaction() {
    let live = LiveSettings::default();
    let set = |name: &str, value: &str, local| live.change(|settings| settings.set(name, value, local)).unwrap();
    set("timezone", "Asia/Tokyo", false);
    set("timezone", "Europe/Paris", true);
    set("transaction_read_only", "on", false);
    assert_eq!(live.now().zone().name(), "Europe/Paris");
    assert!(live.now().is_read_only());
    live.end_transaction();
    assert_eq!(live.now().zone().name(), "Asia/Tokyo");
    assert!(!live.now().is_read_only());
    set("default_transaction_read_only", "on", false);
    assert!(!live.now().is_read_only(), "the transaction that runs keeps what it began with");
    live.end_transaction();
    assert!(live.now().is_read_only());
}

#[test]
fn messages_below_the_level_are_kept_back() {
    let mut settings = Settings::default();
    for (level, notice, warning) in [("notice", true, true), ("warning", false, true), ("error", false, false)] {
        settings.set("client_min_messages", level, false).unwrap();
        assert_eq!((settings.passes("NOTICE"), settings.passes("WARNING")), (notice, warning), "{level}");
    }
}
