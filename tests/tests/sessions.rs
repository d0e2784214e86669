//! `mptcp-user sessions`: what is alive between two hosts, with its subflows, as real traffic made it.

use anyhow::{Context as _, Result, ensure};
use mptcp_common::counter::Role;
use mptcp_tests::{
    conversation::Conversation,
    differential::{A, Differential},
    files::Directory,
    frame::SYN,
    kernel::host,
    net::{Family, Namespace, Pair, close, output, outputs, transfer, wait_until},
    probe::{Probe, command, read_in_part, total},
    record::{PCAP, pcap},
    tun::Tun,
};
use mptcp_user::offline::Config;
use serde_json::{Value, json};

fn sessions(probe: &Probe, arguments: &[&str]) -> Result<Vec<Value>> {
    let text = probe.run(&[&["sessions", "--output", "json"], arguments].concat())?;
    let value: Value = serde_json::from_str(&text)?;
    ensure!(value["schema_version"] == 1);
    Ok(value["sessions"].as_array().context("no sessions")?.clone())
}

fn extra(stat: &Value, name: &str) -> Result<u64> {
    stat["extra"][name].as_u64().context("no number")
}

#[test]
fn a_session_and_its_subflows() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 200_000)?;
    pair.wait_for(&pair.server, "MPJoinAckRx", 1)?;
    transfer(&server, &client, 100_000)?;
    pair.settle()?;

    let found = sessions(&probe, &[])?;
    ensure!(found.len() == 1, "{found:?}");
    let session = &found[0];
    ensure!(
        session["version"] == 1 && session["state"] == "established",
        "{session}"
    );
    ensure!(session["local"] == "listener", "{session}");
    let subflows = session["subflows"].as_array().context("no subflows")?;
    ensure!(subflows.len() == 2, "{session}");
    let (first, joined) = (&subflows[0], &subflows[1]);
    ensure!(first["opened_by"] == "MP_CAPABLE" && joined["opened_by"] == "MP_JOIN");
    ensure!(first["initiator"]["address"] == pair.client_address(0).to_string());
    ensure!(joined["initiator"]["address"] == second.to_string());
    ensure!(joined["initiator"]["address_id"] == 5, "{joined}");
    // All bytes went over one of the two, and some again.
    let stat = probe.stat(&[])?;
    for (bytes, sent, again) in [
        ("bytes_from_initiator", 200_000, total(&stat, "RetxEr")?),
        ("bytes_from_listener", 100_000, extra(&stat, "RetxErTx")?),
    ] {
        let bytes = session[bytes].as_u64().context("no number")?;
        ensure!(
            (sent..=sent + 1500 * again).contains(&bytes),
            "{bytes}, {again} packets again: {session}"
        );
    }
    ensure!(total(&stat, "CurSess")? == 1 && total(&stat, "CurSF")? == 2);

    // The kernel says which token is its own: `ss` prints it in the session's MPTCP information.
    let token = session["listener_token"].as_str().context("no token")?;
    let kernel = pair.server.run("ss", &["-nMi"])?;
    let printed = format!("token:{}", token.trim_start_matches('0'));
    ensure!(kernel.contains(&printed), "no {printed} in {kernel}");

    let port = first["initiator"]["port"].to_string();
    for (arguments, wanted) in [
        (&["--port", "1"][..], 0),
        (&["--port", &port], 1),
        (&["--address", "192.0.2.1"], 0),
        (&["--address", &second.to_string()], 1),
        (&["--state", "fallback"], 0),
        (&["--state", "established", "--sort", "bytes"], 1),
        (&["--limit", "0"], 0),
    ] {
        let found = sessions(&probe, arguments)?.len();
        ensure!(found == wanted, "{arguments:?}: {found}");
    }
    let table = probe.run(&["sessions"])?;
    ensure!(
        table.contains("listener here") && table.contains(token),
        "{table}"
    );
    ensure!(table.lines().all(|line| line.len() <= 132), "{table}");

    close(client, server)?;
    pair.settle()?;
    ensure!(sessions(&probe, &[])?.is_empty());
    ensure!(probe.run(&["sessions"])? == "no sessions\n");
    Ok(())
}

/// So many that tables are read window by window: all of them are found, and none twice.
#[test]
fn many_sessions_are_counted_exactly() -> Result<()> {
    const SESSIONS: u64 = 1500;
    let mut engines = Differential::alone(Config {
        role: Role::Middlebox,
        ..host()
    });
    engines.record();
    for number in 0..SESSIONS {
        match number % 5 {
            0 => {
                Conversation::joined(&mut engines)?;
            }
            1 => {
                let mut talk = Conversation::confirmed(&mut engines)?;
                let flow = talk.flow();
                let syn = talk.join_syn_option(flow, A);
                talk.send(flow, A, SYN, &syn, 0)?;
            }
            2 => {
                Conversation::established(&mut engines)?.reset(0, A, 0)?;
            }
            _ => {
                let mut talk = Conversation::established(&mut engines)?;
                talk.data(0, A, 1 + number as u16 % 1000)?;
            }
        }
    }
    let namespace = Namespace::new("many")?;
    let mut tun = Tun::new(&namespace, "t0")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "t0", "--role", "middlebox"])?;
    let records = engines.take_recorded();
    for record in &records {
        tun.send(&record.bytes[14..])?;
    }
    let mut stat = Value::Null;
    wait_until(|| {
        stat = probe.stat(&[])?;
        Ok(stat["source"]["frames"].as_u64() >= Some(records.len() as u64))
    })?;

    let gauges = engines.gauges();
    ensure!(gauges.sessions == SESSIONS && gauges.pending == SESSIONS / 5);
    ensure!(
        gauges.subflows == SESSIONS && gauges.alone == SESSIONS / 5,
        "{gauges:?}"
    );
    for (row, wanted) in [
        ("CurSess", gauges.sessions),
        ("CurV1Sess", gauges.sessions_v1),
        ("CurSF", gauges.subflows),
        ("PendSF", gauges.pending),
        ("SessNoSF", gauges.alone),
    ] {
        let is = total(&stat, row)?;
        ensure!(is == wanted, "{row}: {is} of {wanted}");
    }
    let found = sessions(&probe, &[])?;
    let open = found
        .iter()
        .filter_map(|session| session["subflows"].as_array());
    let open = open
        .flatten()
        .filter(|subflow| subflow["state"] != "closed");
    ensure!((found.len() as u64, open.count() as u64) == (SESSIONS, gauges.subflows));
    selected(&probe, &found)
}

/// Are the sessions that are asked for the right ones of `all`, in the right order?
fn selected(probe: &Probe, all: &[Value]) -> Result<()> {
    fn number(value: &Value) -> f64 {
        value.as_f64().unwrap_or(f64::INFINITY)
    }
    fn tokens<'a>(sessions: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
        let tokens = sessions.into_iter();
        tokens
            .filter_map(|session| session["listener_token"].as_str())
            .collect()
    }
    type Key = fn(&Value) -> f64;
    let keys: [(&str, Key); 4] = [
        ("age", |session| -number(&session["age_s"])),
        ("idle", |session| number(&session["idle_s"])),
        ("bytes", |session| {
            -number(&session["bytes_from_initiator"]) - number(&session["bytes_from_listener"])
        }),
        ("subflows", |session| {
            -(session["subflows"].as_array().map_or(0, Vec::len) as f64)
        }),
    ];
    for (order, key) in keys {
        let sorted = sessions(probe, &["--sort", order])?;
        ensure!(
            sorted.len() == all.len() && sorted.is_sorted_by_key(key),
            "{order}"
        );
        for limit in [1, 10, 700, all.len(), all.len() + 1] {
            let first = sessions(probe, &["--sort", order, "--limit", &limit.to_string()])?;
            let wanted = tokens(sorted.iter().take(limit));
            ensure!(wanted.len() == limit.min(all.len()), "{order}, {limit}");
            ensure!(tokens(&first) == wanted, "{order}, {limit}");
        }
    }
    let subflow = &all[all.len() / 2]["subflows"][0];
    let (port, address) = (
        &subflow["initiator"]["port"],
        &subflow["listener"]["address"],
    );
    let port_text = port.to_string();
    let address_text = address.as_str().context("no address")?;
    let has_end = |session: &Value, member: &str, wanted: &Value| {
        let mut subflows = session["subflows"].as_array().into_iter().flatten();
        subflows.any(|subflow| {
            ["initiator", "listener"]
                .map(|side| &subflow[side][member])
                .contains(&wanted)
        })
    };
    type Wanted<'a> = &'a dyn Fn(&Value) -> bool;
    let of_address: Wanted<'_> = &|session| has_end(session, "address", address);
    let of_port: Wanted<'_> = &|session| has_end(session, "port", port);
    let filters: [(&[&str], Wanted<'_>); 4] = [
        (&["--address", address_text], of_address),
        (&["--port", &port_text], of_port),
        (
            &["--address", address_text, "--port", &port_text],
            &|session| of_address(session) && of_port(session),
        ),
        (&["--state", "alone"], &|session| {
            session["state"] == "alone"
        }),
    ];
    for (arguments, is_wanted) in filters {
        let found = sessions(probe, arguments)?;
        let mut wanted = tokens(all.iter().filter(|session| is_wanted(session)));
        let mut found = tokens(&found);
        for limit in [1, found.len().div_ceil(2), found.len() + 1] {
            let text = limit.to_string();
            let limited = [arguments, &["--limit", &text]].concat();
            let first = sessions(probe, &limited)?;
            ensure!(
                tokens(&first) == found[..limit.min(found.len())],
                "{limited:?}"
            );
        }
        ensure!(
            !wanted.is_empty() && wanted.len() < all.len(),
            "{arguments:?}"
        );
        wanted.sort_unstable();
        found.sort_unstable();
        ensure!(
            found == wanted,
            "{arguments:?}: {} of {}",
            found.len(),
            wanted.len()
        );
    }
    Ok(())
}

/// More than one table holds, and than fit into a pipe.
#[test]
fn more_sessions_than_a_table_holds() -> Result<()> {
    const SESSIONS: usize = 12_000;
    const TABLES: usize = 2;
    let mut engines = Differential::alone(Config {
        role: Role::Middlebox,
        ..Config::default()
    });
    engines.record();
    for _ in 0..SESSIONS {
        Conversation::established(&mut engines)?;
    }
    let files = Directory::new()?;
    let capture = files.write("many.pcap", pcap(PCAP, 1, &engines.take_recorded()))?;
    let listing = |arguments: &[&str]| {
        let mut listing = command(&["sessions", "--max-sessions", "60000"]);
        listing.args(["--log-file", &capture]).args(arguments);
        listing
    };
    let text = output(&mut listing(&["--output", "json"]))?;
    let json: Value = serde_json::from_str(&text)?;
    let found = json["sessions"].as_array().context("no sessions")?;
    ensure!(found.len() == SESSIONS, "{}", found.len());

    let table = output(&mut listing(&[]))?;
    let lines = |word: &str| table.lines().filter(|line| line.contains(word)).count();
    ensure!(
        lines("Initiator") == TABLES,
        "{} headings",
        lines("Initiator")
    );
    ensure!(lines("session ") == SESSIONS, "{}", lines("session "));
    let last = found[SESSIONS - 1]["listener_token"].as_str();
    ensure!(lines(last.context("no token")?) == 1, "{last:?}");

    // Whoever looks at the beginning alone is no error.
    for arguments in [&[][..], &["--output", "json"]] {
        for bytes in [1000, 1_000_000] {
            read_in_part(listing(arguments), bytes)?;
        }
    }
    Ok(())
}

#[test]
fn without_tables_there_is_a_next_step() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let said = probe.fails(1, &["sessions"])?;
    ensure!(said.contains("mptcp-user attach"), "{said}");
    probe.run(&["attach", "-i", "s0", "--no-track"])?;
    let said = probe.fails(1, &["sessions"])?;
    ensure!(said.contains("--no-track"), "{said}");
    Ok(())
}

/// The first probe of a network namespace decides on the tables; another one says so.
#[test]
fn tables_are_shared() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let attach = |arguments: &[&str]| -> Result<String> {
        let attach = ["attach", "--xdp", "native", "-i"];
        let (_, said) = outputs(&mut probe.command(&[&attach, arguments].concat()))?;
        // But for what it says where it takes more than a second.
        let said = said
            .lines()
            .filter(|line| !line.contains("loading the programs"));
        Ok(said.collect::<Vec<_>>().join("\n"))
    };
    let tables = || -> Result<Vec<Value>> {
        let text = probe.run(&["status", "--output", "json"])?;
        let status: Value = serde_json::from_str(&text)?;
        let interfaces = status["interfaces"].as_array().context("no interfaces")?;
        Ok(interfaces.iter().map(|one| one["tables"].clone()).collect())
    };
    ensure!(attach(&["s0", "--max-sessions", "100", "--limit-subflows", "3"])?.is_empty());
    let said = attach(&["s1"])?;
    ensure!(
        said.contains("share tables that were made for 100 sessions"),
        "{said}"
    );
    let both = tables()?;
    ensure!(both.len() == 2 && both[0] == both[1], "{both:?}");
    ensure!(both[0]["max_sessions"] == 100 && both[0]["limits"]["subflows"] == 3);
    // A session is one, whichever interface its subflows come in at.
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    ensure!(tables()?.iter().all(|table| table["sessions"] == 1));
    ensure!(total(&probe.stat(&["-i", "s1"])?, "CurSess")? == 1);
    close(client, server)?;
    // With the last probe the tables go.
    probe.run(&["detach", "-i", "s0", "s1"])?;
    ensure!(attach(&["s0"])?.is_empty());
    ensure!(tables()?[0]["max_sessions"] == 8192);
    Ok(())
}

/// A middlebox has nobody to ask for the sessions that are there: it says so, and judges none that it
/// has not seen begin. (A host adopts them: `seeding`.)
#[test]
fn a_probe_that_comes_in_mid_traffic() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 50_000)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1", "--role", "middlebox"])?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    pair.wait_for(&pair.server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 50_000)?;
    close(client, server)?;
    pair.settle()?;
    let stat = probe.stat(&[])?;
    ensure!(stat["source"]["attached_mid_traffic"] == true);
    ensure!(total(&stat, "TotDSS")? > 10);
    ensure!(stat["extra"]["UnknownFlow"].as_u64() > Some(20));
    for row in [
        "TotSess", "CurSess", "CurSF", "TokenEr", "InMACEr", "OptSesEr", "NomapEr", "SfnEr",
        "BadMapEr", "RetxEr", "FCkeyEr", "CookieEr", "TotFB", "InMapEr", "DupmapEr",
    ] {
        ensure!(total(&stat, row)? == 0, "{row}: {}", total(&stat, row)?);
    }
    Ok(())
}

/// A host's own limits are the defaults; options win; a middlebox has none of its own.
#[test]
fn limits_come_from_the_host() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    pair.server
        .ip("mptcp limits set subflows 5 add_addr_accepted 1")?;
    pair.server.sysctl("mptcp/close_timeout", "17")?;
    let limits = |arguments: &[&str]| -> Result<[Value; 4]> {
        probe.run(&[&["attach", "-i", "s0"], arguments].concat())?;
        let status: Value = serde_json::from_str(&probe.run(&["status", "--output", "json"])?)?;
        let text = probe.run(&["status"])?;
        probe.run(&["detach", "-i", "s0"])?;
        let tables = &status["interfaces"][0]["tables"];
        let (limits, origins) = (&tables["limits"], &tables["limit_origins"]);
        for (number, origin, what) in [
            ("subflows", "subflows", "subflows ("),
            ("alone_ns", "alone_ns", " s ("),
        ] {
            ensure!(limits[number].is_u64(), "{tables}");
            let said = format!("{what}{}", origins[origin].as_str().context("no origin")?);
            ensure!(text.contains(&said), "no {said:?} in {text}");
        }
        ensure!(
            origins["pending_joins"] == "default" && limits["pending_joins"] == 4,
            "{tables}"
        );
        Ok([
            &limits["subflows"],
            &origins["subflows"],
            &limits["alone_ns"],
            &origins["alone_ns"],
        ]
        .map(Clone::clone))
    };
    let second = 1_000_000_000_u64;
    ensure!(limits(&[])? == [json!(6), json!("host"), json!(17 * second), json!("host")]);
    ensure!(
        limits(&["--limit-subflows", "3", "--close-timeout", "5s"])?
            == [
                json!(3),
                json!("option"),
                json!(5 * second),
                json!("option")
            ]
    );
    ensure!(
        limits(&["--role", "middlebox"])?
            == [
                json!(4),
                json!("default"),
                json!(60 * second),
                json!("default")
            ]
    );
    // Who manages paths in user space has the kernel's bound alone.
    pair.server.sysctl("mptcp/pm_type", "1")?;
    ensure!(limits(&[])?[..2] == [json!(9), json!("host")]);
    Ok(())
}
