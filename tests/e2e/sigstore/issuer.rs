//! An OpenID Connect issuer: a document to find its keys, the keys, and tokens for whom we like.
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Result;
use anyhow::anyhow;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use aws_lc_rs::signature::RsaKeyPair;
use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

/// Where the issuers answer, each below a path of its own.
const ADDRESS: &str = "127.0.0.1:5556";

/// Somebody who signs.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Somebody with an e-mail address.
    Email(&'static str),
    /// A user whom the issuer names by a URI.
    Uri(&'static str),
    /// The release workflow of a repository on GitHub, run for its main branch.
    Workflow(&'static str),
}

impl Identity {
    /// The subject that a certificate names.
    pub fn subject(&self) -> String {
        match self {
            Self::Email(address) => (*address).to_owned(),
            Self::Uri(name) => format!("http://{ADDRESS}/users/{name}"),
            Self::Workflow(repository) => format!("https://github.com/{}", workflow(repository)),
        }
    }
}

/// The issuer of somebody.
pub fn url(identity: &Identity) -> String {
    match identity {
        Identity::Email(_) => format!("http://{ADDRESS}/email"),
        Identity::Uri(_) => format!("http://{ADDRESS}/uri"),
        Identity::Workflow(_) => format!("http://{ADDRESS}/github"),
    }
}

/// The issuers, answering.
pub struct Issuer {
    key: RsaKeyPair,
}

impl Issuer {
    /// Starts them, with a new key.
    pub async fn start() -> Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let public = key.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let keys = json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "e2e",
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        }] });
        drop(public.as_der());
        let router = Router::new()
            .route("/{issuer}/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(move || async move { Json(keys) }));
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { key })
    }

    /// A token that says that its bearer is somebody.
    pub fn token(&self, identity: &Identity) -> Result<String> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(&json!({ "alg": "RS256", "typ": "JWT", "kid": "e2e" }));
        let signed = format!("{header}.{}", part(&claims(identity)?));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| anyhow!("cannot sign a token"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// What Fulcio is told of the issuers, and of what tokens of GitHub say.
pub fn fulcio_settings() -> Value {
    let issuer = |path: &str, rest: Value| {
        let url = format!("http://{ADDRESS}/{path}");
        let mut issuer = json!({ "issuer-url": url, "client-id": "sigstore" });
        if let (Some(issuer), Value::Object(rest)) = (issuer.as_object_mut(), rest) {
            issuer.extend(rest);
        }
        (url, issuer)
    };
    let email = issuer("email", json!({ "type": "email" }));
    let domain = format!("http://{ADDRESS}");
    let uri = issuer("uri", json!({ "type": "uri", "subject-domain": domain }));
    let github = json!({ "type": "ci-provider", "ci-provider": "github-workflow" });
    let github = issuer("github", github);
    json!({
        "oidc-issuers": { (email.0): email.1, (github.0): github.1, (uri.0): uri.1 },
        "ci-issuer-metadata": { "github-workflow": {
            "default-template-values": { "url": "https://github.com" },
            "subject-alternative-name-template": "{{ .url }}/{{ .job_workflow_ref }}",
            "extension-templates": {
                "build-config-uri": "{{ .url }}/{{ .workflow_ref }}",
                "build-signer-uri": "{{ .url }}/{{ .job_workflow_ref }}",
                "build-trigger": "event_name",
                "runner-environment": "runner_environment",
                "source-repository-ref": "ref",
                "source-repository-uri": "{{ .url }}/{{ .repository }}",
            },
        } },
    })
}

async fn discovery(Path(issuer): Path<String>) -> Json<Value> {
    let url = format!("http://{ADDRESS}/{issuer}");
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("http://{ADDRESS}/keys"),
        "authorization_endpoint": format!("{url}/auth"),
        "token_endpoint": format!("{url}/token"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

#[expect(clippy::disallowed_methods, reason = "tokens are made for the present")]
fn claims(identity: &Identity) -> Result<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut claims = match identity {
        Identity::Email(address) => {
            json!({ "sub": address, "email": address, "email_verified": true })
        }
        Identity::Uri(_) => json!({ "sub": identity.subject() }),
        Identity::Workflow(repository) => json!({
            "sub": format!("repo:{repository}:ref:refs/heads/main"),
            "event_name": "push",
            "job_workflow_ref": workflow(repository),
            "workflow_ref": workflow(repository),
            "repository": repository,
            "ref": "refs/heads/main",
            "sha": "a".repeat(40),
            "workflow": "release",
            "runner_environment": "github-hosted",
            // Fulcio asks for all of these, whatever its settings make of them.
            "actor": "octocat",
            "job_workflow_sha": "a".repeat(40),
            "repository_id": "1",
            "repository_owner": "acme",
            "repository_owner_id": "1",
            "repository_visibility": "public",
            "run_attempt": "1",
            "run_id": "1",
            "workflow_sha": "a".repeat(40),
        }),
    };
    let times = json!({ "iss": url(identity), "aud": "sigstore", "iat": now - 5, "nbf": now - 5, "exp": now + 600 });
    if let (Some(claims), Value::Object(times)) = (claims.as_object_mut(), times) {
        claims.extend(times);
    }
    Ok(claims)
}

fn workflow(repository: &str) -> String {
    format!("{repository}/.github/workflows/release.yml@refs/heads/main")
}
