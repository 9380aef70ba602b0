//! A key never shows: in no output, file or error, in no encoding.

use fanweave_sim::Settings;

use crate::support::{Folder, Provider, batch_args, prompts};

const CANARY: &str = "sk-canary-7f3a9b1c5d2e8f40/with+odd=signs";

/// The canary in plain text, percent-encoded and as base64.
fn forms() -> [String; 4] {
    let percent = CANARY.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    [
        CANARY.to_owned(),
        percent,
        // Base64 of `sk-canary-7f3a9b1c5d2e8f40/with+odd=signs`, with and without padding.
        "c2stY2FuYXJ5LTdmM2E5YjFjNWQyZThmNDAvd2l0aCtvZGQ9c2lnbnM=".to_owned(),
        "c2stY2FuYXJ5LTdmM2E5YjFjNWQyZThmNDAvd2l0aCtvZGQ9c2lnbnM".to_owned(),
    ]
}

#[track_caller]
fn assert_clean(location: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{location} shows the key: {text}");
    }
}

fn run(folder: &Folder, url: &str, more: &[&str]) -> i32 {
    let more = [&["--retries", "1"], more].concat();
    let mut command = folder.command(&batch_args(url, &more));
    command.env("OPENAI_API_KEY", CANARY).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
    let output = command.output().expect("the program starts");
    assert_clean("stdout", &String::from_utf8_lossy(&output.stdout));
    assert_clean("stderr", &String::from_utf8_lossy(&output.stderr));
    for entry in std::fs::read_dir(folder.path()).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file of the folder can be read");
        assert_clean(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
    }
    output.status.code().unwrap_or(-1)
}

#[test]
fn a_key_that_works_shows_nowhere() {
    let provider = Provider::start(Settings { api_key: Some(CANARY.to_owned()), ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    assert_eq!(run(&folder, &provider.url(), &[]), 0);
}

#[test]
fn a_wrong_key_is_a_clear_error_that_does_not_show_it() {
    let provider = Provider::start(Settings { api_key: Some("another".to_owned()), ..Settings::default() });
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    assert_eq!(run(&folder, &provider.url(), &[]), 1);
    assert!(!folder.file("out.jsonl").exists(), "no row has a result");
    assert!(provider.stats().requests <= 3, "nobody asks on with a key that was refused");
}

#[test]
fn a_server_that_echoes_the_key_in_its_errors_does_not_make_it_show() {
    let url = echoing_server();
    let folder = Folder::new();
    folder.write("in.jsonl", prompts(3));
    assert_eq!(run(&folder, &url, &[]), 3);
    let rows = folder.rows("out.jsonl");
    assert_eq!(rows[0]["error"]["status"], 400, "{}", rows[0]);
}

/// A server that answers every request with 400 and all of its headers as the message.
fn echoing_server() -> String {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap_or(0);
                    }
                    head.push_str(line.trim_end());
                    head.push(' ');
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                let forms = forms().join(" ");
                let answer =
                    serde_json::json!({"error": {"message": format!("you sent {head} {forms}")}}).to_string();
                let _ = write!(
                    reader.get_mut(),
                    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                     connection: close\r\nx-request-id: {CANARY}\r\n\r\n{answer}",
                    answer.len(),
                );
            });
        }
    });
    url
}

#[test]
fn a_stored_key_is_sent_to_its_provider_and_shows_nowhere() {
    use std::io::Write;
    use std::process::Stdio;

    let provider = Provider::start(Settings { api_key: Some(CANARY.to_owned()), ..Settings::default() });
    let folder = Folder::new();
    let config = folder.path().join("config");
    let keys = |words: &[&str], input: &str| {
        let mut command = folder.command(words);
        command.env("XDG_CONFIG_HOME", &config).env("OPENAI_BASE_URL", provider.url());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let shown =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_clean(&words.join(" "), &shown);
        (output.status.code(), shown)
    };
    let ask = ["ask", "--model", "openai/echo", "hello"];
    let (code, shown) = keys(&ask, "");
    assert!(code == Some(2) && shown.contains("OPENAI_API_KEY is not set"), "{shown}");
    assert_eq!(keys(&["keys", "list"], "").1, "no keys\n");
    assert_eq!(keys(&["keys", "set", "openai"], &format!("{CANARY}\n")).0, Some(0));
    assert_eq!(keys(&["keys", "list"], "").1, "openai: file\n");
    assert_eq!(keys(&["keys", "list", "--json"], "").1, "{\"openai\":\"file\"}\n");
    let (code, shown) = keys(&ask, "");
    assert!(code == Some(0) && shown.contains("hello"), "{shown}");
    // A custom URL gets no stored key.
    let (code, shown) = keys(&[&ask[..], &["--base-url", &provider.url()]].concat(), "");
    assert!(code == Some(1) && shown.contains("401"), "{shown}");

    let file = config.join("fanweave/keys.json");
    assert_eq!(keys(&["keys", "path"], "").1.trim(), file.display().to_string());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let (code, shown) = keys(&ask, "");
        assert!(code == Some(2) && shown.contains("chmod 600"), "{shown}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(&file, format!("{{\"openai\": {CANARY}")).unwrap();
    let (code, shown) = keys(&ask, "");
    assert!(code == Some(2) && shown.contains("must be a JSON object"), "{shown}");
    std::fs::write(&file, "{}").unwrap();
    let (code, shown) = keys(&["keys", "set", "opnai"], CANARY);
    assert!(code == Some(2) && shown.contains("did you mean `openai`?"), "{shown}");
    assert_eq!(keys(&["keys", "set", "openai"], "two words").0, Some(2));
    assert_eq!(keys(&["keys", "remove", "openai"], "").0, Some(2));
}

#[test]
fn keys_that_are_set_concurrently_are_all_stored() {
    use std::io::Write;
    use std::process::Stdio;

    let folder = Folder::new();
    let set = |provider: &str| {
        let mut command = folder.command(&["keys", "set", provider]);
        command.env("HOME", folder.path()).stdin(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    };
    let providers = ["anthropic", "gemini", "groq", "mistral", "openai", "xai"];
    let mut children = providers.map(|provider| (provider, set(provider)));
    // By now, nearly all of them wait for their key, and none has received it. A longer start makes the test
    // less strict, and does not fail it.
    std::thread::sleep(std::time::Duration::from_millis(300));
    for (provider, child) in &mut children {
        child.stdin.take().expect("it is piped").write_all(provider.as_bytes()).expect("it is read");
    }
    for (_, mut child) in children {
        assert!(child.wait().expect("it ends").success());
    }
    let mut list = folder.command(&["keys", "list"]);
    let shown = list.env("HOME", folder.path()).output().expect("the program starts").stdout;
    let shown = String::from_utf8(shown).expect("it is UTF-8");
    let mut listed: Vec<_> = shown.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, providers.map(|provider| format!("{provider}: file")));
}

#[cfg(unix)]
#[test]
fn a_key_file_that_is_a_link_stays_one() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = Folder::new();
    let config = folder.path().join(".config/fanweave");
    std::fs::create_dir_all(&config).expect("a folder");
    folder.write("kept.json", "{}");
    std::fs::set_permissions(folder.file("kept.json"), std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink(folder.file("kept.json"), config.join("keys.json")).unwrap();
    folder.write("key.txt", CANARY);
    let mut command = folder.command(&["keys", "set", "openai"]);
    command.env("HOME", folder.path()).stdin(std::fs::File::open(folder.file("key.txt")).unwrap());
    assert!(command.status().expect("the program starts").success());
    assert!(config.join("keys.json").is_symlink());
    assert!(folder.read("kept.json").contains(CANARY));
}

#[test]
fn only_keys_need_a_home_directory() {
    let folder = Folder::new();
    let ran = folder.run(&["keys", "list"]).expect_code(2);
    assert!(ran.stderr.contains("neither XDG_CONFIG_HOME nor HOME is set"), "{}", ran.stderr);
    folder.run(&["ask", "--model", "sim/echo", "hello"]).expect_code(0);
}

#[cfg(not(feature = "keyring"))]
#[test]
fn a_build_without_the_keyring_reports_an_error_and_stores_nothing() {
    let folder = Folder::new();
    folder.write("key.txt", CANARY);
    let mut command = folder.command(&["keys", "set", "openai", "--keyring"]);
    command.env("HOME", folder.path());
    command.stdin(std::fs::File::open(folder.file("key.txt")).expect("it was written"));
    let ran = command.output().expect("the program starts");
    let shown = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{shown}");
    assert!(shown.contains("built without the feature `keyring`"), "{shown}");
    assert!(!folder.file(".config").exists());
}

#[cfg(not(feature = "keyring"))]
#[test]
fn without_a_keyring_no_key_is_read_and_an_existing_one_is_replaced() {
    let folder = Folder::new();
    let keys = |words: &[&str], input: &str| {
        let mut command = folder.command(&[&["keys"], words].concat());
        let stdin = folder.file("stdin.txt");
        folder.write("stdin.txt", input);
        command.env("HOME", folder.path()).stdin(std::fs::File::open(stdin).expect("it was written"));
        crate::support::Ran::of(command.output().expect("the program starts"))
    };
    let ran = keys(&["set", "groq", "--keyring"], "").expect_code(2);
    assert!(ran.stderr.contains("built without the feature `keyring`"), "{}", ran.stderr);

    // A file written by a build with the feature.
    keys(&["set", "groq"], "k-1").expect_code(0);
    let file = keys(&["path"], "").expect_code(0).stdout.trim().to_owned();
    std::fs::write(&file, "{\"groq\": {\"in\": \"keyring\"}}").expect("it is there");
    let ran = keys(&["set", "groq"], "k-2").expect_code(0);
    assert!(
        ran.stderr
            .contains("note: the old key may still be in the system keyring: cannot access the key for groq"),
        "{}",
        ran.stderr
    );
    assert_eq!(keys(&["list"], "").expect_code(0).stdout, "groq: file\n");
}

#[test]
fn a_model_without_its_provider_or_a_key_is_an_error_with_the_next_step() {
    let folder = Folder::new();
    let ran = folder.run(&["ask", "-m", "gpt-5-mini", "hello"]).expect_code(2);
    assert!(ran.stderr.contains("use provider/model\n  did you mean openai/gpt-5-mini?"), "{}", ran.stderr);
    let ran = folder.run(&["ask", "-m", "nobody-knows", "hello"]).expect_code(2);
    assert!(ran.stderr.contains("known providers: openai"), "{}", ran.stderr);
    let ran = folder.run(&["ask", "-m", "mistral/x", "hello"]).expect_code(2);
    assert!(ran.stderr.contains("MISTRAL_API_KEY is not set"), "{}", ran.stderr);
    assert!(ran.stderr.contains("`fanweave keys set mistral` stores a key"), "{}", ran.stderr);
}
