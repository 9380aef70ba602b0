//! A vendor of another crate, with a dialect that fanweave has.

use fanweave::models::protocol::HeaderName;
use fanweave::models::{self, KeyHeader, ModelBuilder, Quirks, Vendor};
use fanweave::{ErrorKind, Prompt};
use outside::server::{Server, completion};
use serde_json::json;

#[tokio::test]
async fn a_vendor_row() {
    let server = Server::start(|_, request| {
        let renamed = request["random_seed"] == 7 && request["model"] == "deep/writer";
        (200, String::new(), completion(&json!(if renamed { "as configured" } else { "as usual" })))
    });
    let key = KeyHeader::Named(HeaderName::from_static("x-cloud-key"));
    let cloud = Vendor::new("acme-cloud", server.base_url())
        .key_variable("ACME_CLOUD_KEY")
        .needs_key(false)
        .key_header(key)
        .quirks(Quirks::new().random_seed(true));
    models::register(cloud.clone()).unwrap();

    // By its name, as any other model.
    let model = fanweave::model("acme-cloud/deep/writer").unwrap();
    let mut prompt = Prompt::from("Hi");
    prompt.parameters.seed = Some(7);
    let answer = model.invoke(prompt).await.unwrap();
    assert_eq!(answer.text(), "as configured");
    let keyed = ModelBuilder::new("acme-cloud/x").api_key("sk-outside-1234").build().unwrap();
    assert_eq!(keyed.invoke("Hi").await.unwrap().text(), "as usual");
    let head = &server.heads()[1];
    assert!(head.starts_with("post /v1/chat/completions ") && head.contains("x-cloud-key: sk-outside-1234"));

    // Programs and errors know it.
    assert!(models::vendors().any(|name| name == "acme-cloud"));
    assert_eq!(models::key_variables("acme-cloud"), Some(&["ACME_CLOUD_KEY"][..]));
    let error = fanweave::model("acme-clod/x").unwrap_err();
    assert!(error.message().contains("did you mean `acme-cloud`?"), "{error}");
    assert_eq!(models::register(cloud).unwrap_err().kind(), ErrorKind::Config);
}
