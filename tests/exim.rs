//! A real Exim with our configuration, against the test Internet: every row that matters, each with a log line as
//! evidence (`cargo test --test exim -- --nocapture`). Needs root; gets Exim with apt and unpacks it
//! below target/ (see tests/exim/fetch.sh).

#[path = "exim/changes.rs"]
mod changes;
#[path = "exim/counted.rs"]
mod counted;
#[path = "exim/debian.rs"]
mod debian;
#[path = "exim/doctor.rs"]
mod doctor;
#[path = "exim/fetch.rs"]
mod fetch;
#[path = "exim/fleet.rs"]
mod fleet;
#[path = "exim/host.rs"]
mod host;
#[path = "exim/hosted.rs"]
mod hosted;
#[path = "exim/hostile_cache.rs"]
mod hostile_cache;
#[path = "exim/incoming.rs"]
mod incoming;
#[path = "exim/installed.rs"]
mod installed;
#[path = "exim/judge.rs"]
mod judge;
#[path = "exim/large.rs"]
mod large;
#[path = "exim/light.rs"]
mod light;
#[path = "exim/log.rs"]
mod log;
#[path = "exim/parity.rs"]
mod parity;
#[path = "exim/places.rs"]
mod places;
#[path = "exim/privileges.rs"]
mod privileges;
#[path = "exim/readme.rs"]
mod readme;
#[path = "exim/reports.rs"]
mod reports;
#[path = "exim/sessions.rs"]
mod sessions;
#[path = "exim/silent.rs"]
mod silent;
#[path = "exim/table.rs"]
mod table;
#[path = "exim/versions.rs"]
mod versions;

use host::{Config, Host, Tls};
use mtasts_lab::{self as lab, Lab, Mail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

/// The builds of Exim that are tested. That of another distribution (tests/exim/versions.sh) is with GnuTLS.
fn builds() -> &'static [Tls] {
    match host::system() {
        Some(_) => &[Tls::Gnu],
        None => &[Tls::Gnu, Tls::Open],
    }
}

/// Prints one row and the line that proves it.
fn evidence(row: &str, line: &str) {
    println!("{row}\n    {line}");
}

/// A test Internet of its own for one test, which is one thread.
struct World {
    lab: Lab,
    folder: PathBuf,
}

impl World {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("mtasts-exim-{}-{name}", process::id()));
        fs::create_dir(&folder).unwrap();
        // From the test Internet no package could be reached.
        builds().iter().for_each(|tls| drop(host::fetch(*tls)));
        lab::isolate(&folder).expect("isolate");
        host::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "mode=755", "mtasts-exim"])
                .arg(&folder),
        );
        let lab = Lab::start(&folder).expect("lab");
        Self { lab, folder }
    }

    fn host(&self, tls: Tls, config: &Config) -> Host {
        Host::start(&self.folder, tls, config)
    }

    /// Where the test may put files; every user can read it.
    fn folder(&self) -> &Path {
        &self.folder
    }

    /// Both builds with both configurations.
    fn combinations(&self) -> Vec<(Tls, Config)> {
        let configs = [Config::Debian, Config::Complete];
        configs
            .iter()
            .flat_map(|config| builds().iter().map(move |tls| (*tls, config.clone())))
            .collect()
    }

    /// The messages that reached an MX host for this recipient.
    fn mail(&self, recipient: &str) -> Vec<Mail> {
        let mut mail = self.lab.mail();
        mail.retain(|mail| mail.recipients.iter().any(|to| to == recipient));
        mail
    }

    fn received(&self, recipient: &str) -> usize {
        self.mail(recipient).len()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_report_goes_out_signed_and_is_in_no_report() {
    // Before there is nothing but the test Internet.
    mtasts_kit::opendkim::fetch();
    mtasts_kit::mtasts();
    reports::go_out(&World::new("reports"));
}

#[test]
fn a_session_is_counted_whatever_the_policy() {
    counted::every_session(&World::new("counted"));
}

#[test]
fn a_lost_result_is_counted_and_told_whatever_the_policy() {
    counted::losses(&World::new("losses"));
}

#[test]
fn every_domain_of_the_lab_debian_gnutls() {
    table::every_domain(&World::new("table1"), Tls::Gnu, &Config::Debian);
}

#[test]
fn every_domain_of_the_lab_debian_openssl() {
    if !builds().contains(&Tls::Open) {
        return;
    }
    table::every_domain(&World::new("table2"), Tls::Open, &Config::Debian);
}

/// And the reporter of sys4 makes of it the reports that ours makes.
#[test]
fn every_domain_of_the_lab_complete_gnutls() {
    // Before there is nothing but the test Internet.
    mtasts_kit::sys4::fetch_reporter();
    mtasts_kit::mtasts();
    parity::with_sys4(&World::new("table3"));
}

#[test]
fn every_domain_of_the_lab_complete_openssl() {
    if !builds().contains(&Tls::Open) {
        return;
    }
    table::every_domain(&World::new("table4"), Tls::Open, &Config::Complete);
}

#[test]
fn a_chown_over_the_checkout_does_no_harm() {
    fetch::after_a_chown();
}

#[test]
fn the_readme_protects_a_host_of_debian() {
    readme::on_debian(&World::new("readme"));
}

#[test]
fn a_silent_host_gets_nothing() {
    table::silent_hosts(&World::new("silent"));
}

#[test]
fn a_failing_call_closes_the_gate_only_in_address_data() {
    places::failing_calls(&World::new("places"));
}

#[test]
fn our_configurations_stay_closed_when_the_lookup_fails() {
    places::our_configurations(&World::new("closed"));
}

#[test]
fn a_connection_is_not_reused_across_policies() {
    sessions::reused_connection(&World::new("reuse"));
}

#[test]
fn a_message_to_two_domains_is_two_sessions() {
    sessions::several_domains(&World::new("domains"));
}

#[test]
fn each_recipient_of_a_domain_is_protected() {
    sessions::several_recipients(&World::new("recipients"));
}

#[test]
fn no_tls_session_is_resumed() {
    sessions::resumed_session(&World::new("resume"));
}

#[test]
fn a_policy_failure_does_not_delay_other_domains() {
    sessions::retry_records(&World::new("retry"));
}

#[test]
fn a_policy_failure_does_not_delay_other_policies() {
    sessions::shared_host(&World::new("alias"));
}

#[test]
fn a_connection_is_not_reused_across_enforced_policies() {
    sessions::reused_enforced_connection(&World::new("reuse2"));
}

#[test]
fn the_children_of_exim_share_a_fleet() {
    fleet::children_in_flight(&World::new("fleet"));
}

#[test]
fn policies_of_our_host_are_obeyed() {
    mtasts_kit::mtasts();
    hosted::policies_of_our_host(&World::new("hosted"));
}

#[test]
fn the_second_mx_host_is_judged_as_the_first() {
    sessions::second_host(&World::new("second"));
}

#[test]
fn mail_that_comes_in_does_not_meet_us() {
    incoming::senders(&World::new("incoming"));
}

#[test]
fn the_doctor_knows_the_configuration_in_force() {
    doctor::states(&World::new("doctor"));
}

#[test]
fn debians_options_are_ours() {
    debian::options(&World::new("options"));
}

#[test]
fn debians_interface_is_ours() {
    debian::interface(&World::new("interface"));
}

#[test]
fn relayed_domains_are_exempt_until_a_macro_says_otherwise() {
    debian::relayed_domains(&World::new("relayed"));
}

#[test]
fn a_smart_host_has_a_policy_of_its_own() {
    debian::smart_hosts(&World::new("smart"));
}

#[test]
fn debians_unsplit_configuration() {
    debian::unsplit(&World::new("unsplit"));
}

#[test]
fn an_exim_without_dlfunc_is_told() {
    let program = host::fetch_light();
    debian::light(&World::new("light"), &program);
}

#[test]
fn every_domain_of_the_lab_without_dlfunc() {
    let program = host::fetch_light();
    mtasts_kit::mtasts();
    light::every_domain(&World::new("light2"), &program);
}

#[test]
fn without_dlfunc_and_without_the_server_mail_waits() {
    let program = host::fetch_light();
    mtasts_kit::mtasts();
    light::without_the_server(&World::new("light3"), &program);
}

#[test]
fn without_dlfunc_a_spoofed_mx_host_gets_nothing() {
    let program = host::fetch_light();
    mtasts_kit::mtasts();
    light::spoofed(&World::new("light5"), &program);
}

#[test]
fn half_an_answer_of_the_server_is_none() {
    let program = host::fetch_light();
    mtasts_kit::mtasts();
    light::half_answers(&World::new("light4"), &program);
}

#[test]
fn the_command_installs_in_debians_split_configuration() {
    installed::split(&World::new("install1"));
}

#[test]
fn the_command_installs_in_debians_unsplit_configuration() {
    installed::unsplit(&World::new("install2"));
}

#[test]
fn the_command_installs_in_a_configuration_in_one_file() {
    installed::one_file(&World::new("install3"));
}

#[test]
fn the_command_knows_the_example() {
    installed::example(&World::new("install4"));
}

#[test]
fn the_command_changes_nothing_if_it_cannot_do_all() {
    installed::refusals(&World::new("install5"));
}

#[test]
fn the_command_says_which_exim_is_needed() {
    let program = host::fetch_light();
    installed::light(&World::new("install6"), &program);
}

#[test]
fn debians_ignored_addresses_are_ours() {
    debian::ignored_addresses(&World::new("ignored"));
}

#[test]
fn a_macro_has_the_trust_anchors_for_mx_hosts() {
    debian::trust_anchors(&World::new("anchors"));
}

#[test]
fn an_unusable_cache_is_in_the_log_once_for_a_message() {
    log::unusable_cache(&World::new("unusable"));
}

#[test]
fn deferrals_spare_the_panic_log() {
    log::deferrals(&World::new("deferrals"));
}

#[test]
fn testing_leaves_a_line_for_each_host_that_would_have_failed() {
    log::testing(&World::new("testing"));
}

#[test]
fn existing_practice_is_no_protection() {
    sessions::existing_practice(&World::new("practice"));
}

#[test]
fn tls_1_0_and_1_1_are_refused() {
    versions::old_tls(&World::new("oldtls"));
}

#[test]
fn callouts_and_cutthrough_deliveries_obey() {
    versions::callouts(&World::new("callout"));
}

#[test]
fn an_exception_is_in_the_log_of_each_delivery() {
    changes::exceptions(&World::new("exception"));
}

#[test]
fn a_newer_policy_is_found_before_a_bounce() {
    changes::recheck(&World::new("recheck"));
}

#[test]
fn root_stays_off_the_network() {
    privileges::root_stays_off_the_network(&World::new("root"));
}

#[test]
fn ctrl_z_of_a_user_stops_his_exim_alone() {
    privileges::stopped_by_its_user(&World::new("stopped"));
}

#[test]
fn an_ordinary_user_cannot_lead_the_library_astray() {
    privileges::hostile_environment(&World::new("hostile"));
}

#[test]
fn a_planted_cache_file_is_not_roots_language() {
    hostile_cache::is_not_roots_language(&World::new("planted"));
}

#[test]
fn silent_domains_hold_nobody_up() {
    silent::hold_nobody_up(&World::new("mute"));
}

#[test]
fn broken_settings_defer_with_a_clear_reason() {
    privileges::broken_settings(&World::new("settings"));
}

#[test]
fn without_roots_mail_waits_with_a_clear_reason() {
    privileges::no_roots(&World::new("roots"));
}

#[test]
fn a_crash_is_what_it_is() {
    privileges::crashes(&World::new("crash"));
}

#[test]
fn the_largest_policy_costs_little() {
    large::policies(&World::new("large"));
}

#[test]
fn the_largest_policy_is_obeyed() {
    large::deliveries(&World::new("obeyed"));
}

#[test]
fn without_a_policy_domain_exims_own_answer_stands() {
    privileges::no_policy_domain(&World::new("none"));
}
