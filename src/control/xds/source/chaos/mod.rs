//! Control planes go wrong in every way at random, for hours of virtual time, while calls are made by what
//! they say. All of it is real, from the streams and their HTTP/2 to the mesh and its connections: only
//! the bytes travel in memory, and nothing waits but for the paused clock.
//!
//! There are two planes, the second of which is asked when the first fails (gRFC A71). What each says is
//! sound as a whole, and a service never leads to a cluster that its plane does not have. So:
//!
//! - of a service that has once answered, no call fails;
//! - no call goes to an endpoint that no plane has named since all was well the last time;
//! - soon after the first plane is well the mesh is exactly what it says;
//! - when all has been quiet for a while, what is asked for is exactly what is needed, of the first plane
//!   alone, all of it is held and nothing of it is wrong;
//! - when nobody calls any more nothing is left, and what there was before is there at the next call;
//! - when the mesh has ended no task, stream or connection is left.
//!
//! A failure tells its seed: `CHAOS_SEED=7` runs that one again, `CHAOS_SEEDS=200` so many.

mod calls;
mod events;
mod planes;
mod world;

use std::ops::Range;

use self::world::World;
use crate::core::Random;

/// Those that a short run takes, of each protocol.
const SEEDS: u64 = 2;
/// How often all is well again.
const ROUNDS: usize = 2;
/// What goes wrong until then.
const EVENTS: usize = 12;

fn seeds() -> Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}: {text} is no number")))
    };
    match number("CHAOS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHAOS_SEEDS").unwrap_or(SEEDS),
    }
}

fn storms(delta: bool) {
    for seed in seeds() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(storm(seed, delta));
    }
}

async fn storm(seed: u64, delta: bool) {
    let mut world = World::start(seed, delta).await;
    Box::pin(world.peace()).await;
    for round in 0..ROUNDS {
        for _ in 0..EVENTS {
            Box::pin(world.event()).await;
        }
        // At random they are seldom: they take longest.
        if round % 2 == 0 {
            Box::pin(world.burst()).await;
        } else {
            Box::pin(world.crowd()).await;
        }
        Box::pin(world.peace()).await;
        Box::pin(world.night()).await;
    }
    world.end().await;
}

#[test]
fn no_call_is_lost_whatever_becomes_of_planes_of_the_state_of_the_world() {
    storms(false);
}

#[test]
fn no_call_is_lost_whatever_becomes_of_planes_that_speak_delta() {
    storms(true);
}

/// A number below this one.
fn below(random: &Random, most: usize) -> usize {
    let most = u64::try_from(most).unwrap();
    usize::try_from(random.next() % most).unwrap()
}
