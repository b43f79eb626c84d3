//! Every scenario at a small size; the same seeds give the same runs.

use banyan_sim::scenarios::{self, Params};

fn run(name: &str, params: Params) -> banyan_sim::measure::Report {
    let scenario = scenarios::find(name).expect("there is such a scenario");
    scenario.run(&params).unwrap_or_else(|line| panic!("{line}"))
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                let nodes = scenarios::find($name).expect("there is such a scenario").nodes;
                for seed in 1..=2 {
                    run($name, Params::new(nodes, seed));
                }
            }
        )*

        #[test]
        fn every_scenario_is_run() {
            let tested = [$($name,)* "liar", "random"];
            let missing: Vec<&str> =
                scenarios::ALL.iter().map(|scenario| scenario.name).filter(|name| !tested.contains(name)).collect();
            assert!(missing.is_empty(), "{missing:?} have no test");
        }
    };
}

scenarios! {
    a_crowd_is_attached_within_a_second_a1_a3: "flash-crowd",
    processes_that_all_start_at_once_find_together_c1: "cold-crowd",
    the_death_of_relays_is_repaired_without_loss_a6_e1: "kill-interior",
    a_rolling_restart_is_clean_c8: "rolling-restart",
    halves_are_one_again_after_an_hour_apart_c8: "split",
    a_flapping_link_makes_nobody_restless_a8: "flapping-link",
    a_frozen_parent_is_replaced_and_not_buried_a9: "frozen-parent",
    a_new_epoch_is_followed_by_everyone_b11: "origin-restart",
    nobody_is_fed_through_those_without_capacity_a4: "capacity-zero",
    capacity_changes_shed_and_use_gently_a4: "capacity-changes",
    a_slot_that_opens_is_found_a13: "full-mesh",
    members_that_do_not_follow_a_track_relay_it_a4_a13: "volunteers",
    visitors_leave_nothing_behind_c4: "churn",
    two_orphans_do_not_end_below_each_other_a7: "two-orphans",
    the_chain_of_four_is_repaired_without_a_loop_a7: "chain-of-four",
    the_starved_are_not_declared_dead_b12: "starved",
    an_idle_mesh_is_quiet_and_hears_at_once_e4: "quiet",
}

/// Each table holds a third of the mesh.
#[test]
fn a_mesh_larger_than_the_tables_is_repaired_without_loss_e3() {
    for seed in 1..=2 {
        let tables = Params { table_rows: Some(40), ..Params::new(120, seed) };
        let (part, whole) = (run("kill-interior", tables), run("kill-interior", Params::new(120, seed)));
        assert!(part.get("depth_max") <= whole.get("depth_max").map(|depth| depth + 1.0));
    }
}

/// Four kinds of lies.
#[test]
fn a_liar_keeps_nobody_from_the_stream_a7() {
    for seed in 0..4 {
        run("liar", Params::new(16, seed));
    }
}

#[test]
fn random_faults_break_nothing_e2() {
    for seed in 0..60 {
        let nodes = 3 + seed as usize % 10;
        run("random", Params { wire: seed % 4 == 0, ..Params::new(nodes, seed) });
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for (name, nodes, wire) in [("random", 9, false), ("random", 6, true), ("kill-interior", 40, false)] {
        let params = Params { wire, ..Params::new(nodes, 7) };
        let [first, second] = [(); 2].map(|()| run(name, params.clone()).trace);
        assert_eq!(first, second, "{name}");
        let other = run(name, Params { seed: 8, ..params }).trace;
        assert_ne!(first, other, "{name}: another seed, another run");
    }
}
