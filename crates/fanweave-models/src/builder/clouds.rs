//! Bedrock and Vertex AI over sockets, with credentials of files: a server verifies signatures and tokens by
//! the published algorithms, from the bytes that arrive.

#![expect(clippy::unwrap_used, reason = "also in shared test code")]

use std::sync::{Arc, Mutex};

use fanweave_core::{Context, ErrorKind, Model, chain};
use ring::{digest, hmac};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::ModelBuilder;
use crate::transport::event_stream::message as framed;

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// A server that answers each request with a status, a media type and a body.
struct Cloud {
    origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Cloud {
    async fn start(answer: impl Fn(&Seen) -> (u16, &'static str, Vec<u8>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let request = loop {
                    let mut chunk = vec![0; 16 << 10];
                    let read = socket.read(&mut chunk).await.unwrap();
                    bytes.extend_from_slice(&chunk[..read]);
                    if let Some(request) = parse(&bytes) {
                        break Some(request);
                    }
                    if read == 0 {
                        break None;
                    }
                };
                let Some(request) = request else { continue };
                let (status, media_type, body) = answer(&request);
                log.lock().unwrap().push(request);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                socket.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
            }
        });
        Self { origin, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn parse(bytes: &[u8]) -> Option<Seen> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some(Seen { line, headers, body })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const SECRET: &str = "canarySecretKeyOfTheTests/1234567890";

/// Verifies the signature of a request, as AWS does.
fn verify(seen: &Seen) -> Result<(), String> {
    let authorization = seen.header("authorization").ok_or("no authorization")?;
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=").ok_or("another algorithm")?;
    let fields: Vec<_> = rest.split(", ").collect();
    let [credential, signed, signature] = fields.as_slice() else { return Err(rest.to_owned()) };
    let (_, scope) = credential.split_once('/').ok_or("no scope")?;
    let signed = signed.strip_prefix("SignedHeaders=").ok_or("no headers")?;
    let signature = signature.strip_prefix("Signature=").ok_or("no signature")?;
    let mut words = seen.line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default().replace('%', "%25");
    let headers: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", seen.header(name).unwrap_or("MISSING")))
        .collect();
    let sha = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!("{method}\n{path}\n\n{headers}\n{signed}\n{}", sha(&seen.body));
    let date = seen.header("x-amz-date").ok_or("no date")?;
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha(canonical.as_bytes()));
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
    });
    let expected = hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), to_sign.as_bytes()).as_ref());
    if expected == *signature {
        Ok(())
    } else {
        Err(format!("the signature is of another request:\n{canonical}"))
    }
}

fn built(name: &str, url: &str, env: &[(&str, String)]) -> fanweave_core::Result<Model> {
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    ModelBuilder::new(name).base_url(url).retry(crate::RetryPolicy::never()).build_in(&env)
}

fn aws() -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("AWS_SESSION_TOKEN", "canary-session-token".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

const NAME: &str = "bedrock-converse/us.anthropic.claude-haiku-4-5-20251001-v1:0";

async fn bedrock() -> Cloud {
    Cloud::start(|seen| {
        if let Some(answer) = credentials(seen) {
            return answer;
        }
        if let Err(why) = verify(seen) {
            let body = json!({ "message": format!("The request signature we calculated does not match: {why}") });
            return (403, "application/json", body.to_string().into_bytes());
        }
        if seen.line.contains("/converse-stream ") {
            let events = [
                ("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": "Hel" } })),
                ("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": "lo" } })),
                ("messageStop", json!({ "stopReason": "end_turn" })),
                ("metadata", json!({ "usage": { "inputTokens": 3, "outputTokens": 2 } })),
            ];
            let bytes = events.iter().flat_map(|(name, data)| {
                framed(&[(":event-type", name), (":message-type", "event")], data.to_string().as_bytes())
            });
            return (200, "application/vnd.amazon.eventstream", bytes.collect());
        }
        let message = json!({ "role": "assistant", "content": [{ "text": "Hello" }] });
        let body = json!({
            "output": { "message": message }, "stopReason": "end_turn", "usage": { "inputTokens": 3, "outputTokens": 2 },
        });
        (200, "application/json", body.to_string().into_bytes())
    })
    .await
}

/// The credentials of a container and of an instance.
fn credentials(seen: &Seen) -> Option<(u16, &'static str, Vec<u8>)> {
    let keys = json!({
        "AccessKeyId": "AKIDTEST", "SecretAccessKey": SECRET, "Token": "canary-session-token",
        "Expiration": "2999-01-01T00:00:00Z",
    });
    let (status, body) = match seen.line.split(' ').nth(1).unwrap_or_default() {
        "/container" if seen.header("authorization") == Some("canary-container-token") => {
            (200, keys.to_string())
        }
        "/container" => (401, String::new()),
        "/latest/api/token" if seen.line.starts_with("PUT ") => (200, "canary-instance-token".to_owned()),
        path if path.starts_with("/latest/") => match seen.header("x-aws-ec2-metadata-token") {
            Some("canary-instance-token") if path.ends_with("/security-credentials/") => {
                (200, "role-1".to_owned())
            }
            Some("canary-instance-token") if path.ends_with("/role-1") => (200, keys.to_string()),
            _ => (401, String::new()),
        },
        _ => return None,
    };
    Some((status, "text/plain", body.into_bytes()))
}

#[tokio::test]
async fn bedrock_takes_credentials_of_a_container_and_of_an_instance() {
    let cloud = bedrock().await;
    let region = ("AWS_REGION", "us-east-1".to_owned());
    let container = [
        region.clone(),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/container", cloud.origin)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-container-token".to_owned()),
    ];
    let instance = [region.clone(), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.origin.clone())];
    for (env, fetches) in [(&container[..], 1), (&instance[..], 3)] {
        let before = cloud.seen().len();
        let model = built(NAME, &cloud.origin, env).unwrap();
        for _ in 0..3 {
            assert_eq!(model.invoke("Hi").await.unwrap().text(), "Hello");
        }
        assert_eq!(cloud.seen().len() - before, fetches + 3, "the credentials serve all calls");
        assert!(!format!("{model:?}").contains("canary"));
    }
    let mut wrong = container.to_vec();
    wrong[2].1 = "another canary".to_owned();
    let nowhere = [region, ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9".to_owned())];
    for (env, says) in [
        (
            &wrong[..],
            "keys of the profile `default` in ~/.aws/credentials; the container gave no credentials: status 401",
        ),
        (&nowhere[..], "; this machine, asked as an EC2 instance, gave no credentials: "),
    ] {
        let error = built(NAME, &cloud.origin, env).unwrap().invoke("Hi").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(
            error.message().starts_with("no AWS credentials: set ") && error.message().contains(says),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

/// The simulated provider, with a verifier of its own.
#[tokio::test]
async fn the_simulated_clouds_take_signed_requests_and_their_own_tokens() {
    let settings =
        fanweave_sim::Settings { api_key: Some(SECRET.to_owned()), ..fanweave_sim::Settings::default() };
    let sim = fanweave_sim::Server::start(settings).unwrap();
    let bedrock = built("bedrock-converse/echo", &sim.origin(), &aws()).unwrap();
    let host = sim.origin().trim_start_matches("http://").to_owned();
    let url = format!("{}/v1/projects/p/locations/global/publishers/google", sim.origin());
    let vertex = built("vertex/echo", &url, &[("GCE_METADATA_HOST", host)]).unwrap();
    for model in [bedrock, vertex] {
        let whole = model.invoke("one two three").await.unwrap();
        let streamed = chain(model).stream("one two three").output().await.unwrap();
        assert!(whole.text().ends_with("one two three"));
        assert_eq!((whole.text(), whole.usage()), (streamed.text(), streamed.usage()));
    }
    let mut env = aws();
    env[1].1 = "anotherCanarySecretKey/1234567890".to_owned();
    let error = built(NAME, &sim.origin(), &env).unwrap().invoke("Hi").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Authentication, Some("InvalidSignatureException")));
    let error = ModelBuilder::new("vertex/echo").base_url(url).api_key("ya29.sim-9999999999-00");
    let error = error.build().unwrap().invoke("Hi").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test]
async fn bedrock_takes_the_signature_of_what_arrives() {
    let cloud = bedrock().await;
    let model = built(NAME, &cloud.origin, &aws()).unwrap();
    let whole = model.invoke("Hi ü").await.unwrap();
    let streamed = chain(model.clone()).stream("Hi ü").output().await.unwrap();
    for message in [whole, streamed] {
        assert_eq!(message.text(), "Hello");
        let usage = message.reply.unwrap().usage;
        assert_eq!((usage.input_tokens, usage.output_tokens), (3, 2));
    }
    let seen = cloud.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].line.starts_with("POST /model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse "));
    for request in &seen {
        assert_eq!(request.header("x-amz-security-token"), Some("canary-session-token"));
        let text = format!("{request:?}");
        assert!(!text.contains(SECRET), "the secret key is never sent");
    }
    assert!(!format!("{model:?}").contains("canary"));
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_shown() {
    let cloud = bedrock().await;
    let mut env = aws();
    env[1].1 = "anotherCanarySecretKey/1234567890".to_owned();
    let error = built(NAME, &cloud.origin, &env).unwrap().invoke("Hi").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    assert!(!format!("{error:?} {error}").to_lowercase().contains("canary"), "{error:?}");
}

#[tokio::test]
async fn bedrock_takes_a_bearer_token_in_place_of_a_signature() {
    let cloud = Cloud::start(|_| (200, "application/json", Vec::new())).await;
    let env = [("AWS_BEARER_TOKEN_BEDROCK", "token-1234567890".to_owned())];
    let _ = built(NAME, &cloud.origin, &env).unwrap().invoke("Hi").await;
    assert_eq!(cloud.seen()[0].header("authorization"), Some("Bearer token-1234567890"));
    let off = [("AWS_EC2_METADATA_DISABLED", "true".to_owned())];
    let none = built(NAME, &cloud.origin, &off).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Authentication);
    assert!(none.message().starts_with("no AWS credentials: set AWS_BEARER_TOKEN_BEDROCK"), "{none}");
}

/// A server of tokens and of models.
async fn google() -> Cloud {
    Cloud::start(|seen| {
        let json = |value: Value| (200, "application/json", value.to_string().into_bytes());
        if seen.line.contains("/token") {
            return json(
                json!({ "access_token": "ya29.canary-token-1", "expires_in": 3600, "token_type": "Bearer" }),
            );
        }
        if seen.header("authorization") != Some("Bearer ya29.canary-token-1") {
            let error =
                json!({ "error": { "code": 401, "message": "no token", "status": "UNAUTHENTICATED" } });
            return (401, "application/json", error.to_string().into_bytes());
        }
        let content = json!({ "parts": [{ "text": "Hello" }], "role": "model" });
        json(json!({ "candidates": [{ "content": content, "finishReason": "STOP" }] }))
    })
    .await
}

/// A file with credentials, which is deleted at the end.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str, credentials: &Value) -> Self {
        let path = std::env::temp_dir().join(format!("fanweave-adc-{}-{name}.json", std::process::id()));
        std::fs::write(&path, credentials.to_string()).unwrap();
        Self(path)
    }

    fn env(&self) -> [(&'static str, String); 1] {
        [("GOOGLE_APPLICATION_CREDENTIALS", self.0.to_str().unwrap().to_owned())]
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn vertex_takes_tokens_of_a_service_account_and_of_a_user_and_of_a_machine() {
    let cloud = google().await;
    let token_uri = format!("{}/token", cloud.origin);
    let robot = File::new(
        "robot",
        &json!({
            "type": "service_account", "project_id": "p", "private_key_id": "k", "client_email": "robot@p.test",
            "private_key": include_str!("../transport/adc/test_key.pem"), "token_uri": token_uri,
        }),
    );
    let user = File::new(
        "user",
        &json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "canary-client-secret",
            "refresh_token": "1//canary-refresh token", "token_uri": token_uri,
        }),
    );
    let host = cloud.origin.trim_start_matches("http://").to_owned();
    let machine = [("GCE_METADATA_HOST", host)];
    let url = format!("{}/v1/projects/p/locations/global/publishers/google", cloud.origin);
    for (env, says) in [
        (
            robot.env().to_vec(),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey",
        ),
        (
            user.env().to_vec(),
            "grant_type=refresh_token&client_id=c&client_secret=canary-client-secret&\
             refresh_token=1%2F%2Fcanary-refresh%20token",
        ),
        (machine.to_vec(), ""),
    ] {
        let before = cloud.seen().len();
        let model = built("vertex/gemini-3.5-flash", &url, &env).unwrap();
        for _ in 0..3 {
            assert_eq!(model.invoke("Hi").await.unwrap().text(), "Hello");
        }
        let seen = cloud.seen().split_off(before);
        assert_eq!(seen.len(), 4, "one token serves all calls");
        assert!(String::from_utf8_lossy(&seen[0].body).starts_with(says), "{seen:?}");
        if says.is_empty() {
            assert_eq!(seen[0].header("metadata-flavor"), Some("Google"));
        }
        let path =
            "POST /v1/projects/p/locations/global/publishers/google/models/gemini-3.5-flash:generateContent ";
        assert!(seen[1].line.starts_with(path), "{}", seen[1].line);
        assert!(!format!("{model:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_refused_login_is_an_error_of_authentication_without_its_secrets() {
    let cloud = Cloud::start(|seen| {
        let sent = String::from_utf8_lossy(&seen.body).into_owned();
        let body = json!({ "error": "invalid_grant", "error_description": format!("Token expired: {sent}") });
        (400, "application/json", body.to_string().into_bytes())
    })
    .await;
    let user = File::new(
        "refused",
        &json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "canary-client-secret",
            "refresh_token": "canary-refresh-token", "token_uri": format!("{}/token", cloud.origin),
        }),
    );
    let model = built("vertex/gemini-3.5-flash", &cloud.origin, &user.env()).unwrap();
    let error = chain(model).invoke_in("Hi", &Context::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.message().contains("Token expired"), "{error}");
    assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
}

#[test]
fn the_url_of_vertex_is_that_of_the_project() {
    let model = |env: &[(&str, String)]| {
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        ModelBuilder::new("vertex/m").build_in(&env).map(|model| model.identity())
    };
    let set = |name: &'static str, value: &str| (name, value.to_owned());
    let project = set("GOOGLE_CLOUD_PROJECT", "my-project");
    let global = "vertex/m at https://aiplatform.googleapis.com/v1/projects/my-project/locations/global/publishers/google";
    assert_eq!(model(std::slice::from_ref(&project)).unwrap(), global);
    let regional = model(&[project, set("GOOGLE_CLOUD_LOCATION", "europe-west4")]).unwrap();
    assert!(regional.contains("https://europe-west4-aiplatform.googleapis.com/"), "{regional}");
    assert!(model(&[]).unwrap_err().message().starts_with("GOOGLE_CLOUD_PROJECT is not set"));
    let odd = model(&[set("GOOGLE_CLOUD_PROJECT", "evil.example/x?")]).unwrap_err();
    assert!(odd.message().contains("must be the names"), "{odd}");
}
