//! What is counted of each policy.
use tegata::policy::Mode;

use crate::house::House;
use crate::review;

fn line(mode: &str, count: usize) -> String {
    format!(
        "tegata_policy_decisions_total{{policy=\"ImagePolicy/team-a/signed\",mode=\"{mode}\",verdict=\"rejected\",reason=\"signature-absent\"}} {count}\n"
    )
}

#[tokio::test]
async fn a_policys_answer_is_counted_once_a_request_and_image() {
    for (mode, name) in [(Mode::Warn, "warn"), (Mode::Audit, "audit")] {
        let house = House::new(mode);
        let request = review::create(&review::pod(&["r.io/app:1", "r.io/app:2"]));
        house.ask("mutate", &request).await;
        assert!(!house.metrics().contains("tegata_policy_decisions"), "{}", house.metrics());
        house.ask("validate", &request).await;
        assert!(house.metrics().contains(&line(name, 2)), "{}", house.metrics());
    }
}

#[tokio::test]
async fn a_policys_denial_is_counted_where_the_api_server_stops_asking() {
    let house = House::new(Mode::Enforce);
    let request = review::create(&review::pod(&["r.io/app:1"]));
    house.ask("mutate", &request).await;
    assert!(house.metrics().contains(&line("enforce", 1)), "{}", house.metrics());
}
