//! The line that the log has of each decision.
use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::Value;
use serde_json::json;
use tegata::policy::Mode;

use crate::house::House;
use crate::review;

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that answering `reviews` has the server log.
async fn logged(mode: Mode, reviews: &[Value]) -> Vec<Value> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    // While there is one subscriber only, the library asks the thread that first reaches a log
    // line whether anybody wants it, and remembers a "no" of a test that runs beside this one.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logging = tracing::subscriber::set_default(subscriber);
    let house = House::new(mode);
    for review in reviews {
        house.ask("validate", review).await;
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_decision_is_one_line_that_says_what_was_asked_and_found() {
    let pod = review::pod(&["r.io/app:1"]);
    let delete = review::review("DELETE", &pod, &pod);
    let asked = [review::create(&pod), review::update(&pod, &pod), delete];
    let lines = logged(Mode::Warn, &asked).await;
    let fields = |key: &str| lines.iter().map(|line| line["fields"][key].clone()).collect();
    let texts = |key: &str| -> Vec<Value> { fields(key) };
    assert_eq!(texts("message"), vec![json!("Admitted"); 3]);
    assert_eq!(texts("operation"), ["CREATE", "UPDATE", "DELETE"].map(Value::from));
    assert_eq!(texts("verdict"), ["rejected", "none", "none"].map(Value::from));
    assert_eq!(texts("reasons"), ["signature-absent", "", ""].map(Value::from));
    assert_eq!(texts("kind"), vec![json!("Pod"); 3]);
}
