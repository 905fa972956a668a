// Calls by grpc-js-xds, as it is told line by line: see caller.py, whose answers are the same.
'use strict';
const readline = require('readline');
const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

// Messages of one string field.
const encode = () => Buffer.alloc(0);
const decode = (data) => (data.length === 0 ? '' : data.subarray(2).toString());
const channels = new Map();

function client(target) {
  if (!channels.has(target)) {
    const made = new grpc.Client(`xds:///${target}`, grpc.credentials.createInsecure());
    channels.set(target, made);
  }
  return channels.get(target);
}

function call(asked, number) {
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(asked.headers)) {
    metadata.set(key, value.replace('{n}', number));
  }
  const options = { deadline: Date.now() + asked.timeout * 1000 };
  const began = process.hrtime.bigint();
  return new Promise((resolve) => {
    const say = '/helloworld.Greeter/SayHello';
    client(asked.target).makeUnaryRequest(say, encode, decode, '', metadata, options, (error, who) => {
      const outcome = error ? { code: error.code, text: error.details } : { who };
      resolve({ ...outcome, ms: Number(process.hrtime.bigint() - began) / 1e6 });
    });
  });
}

// It refuses calls while it connects for the first time; these are made again, for as long as one may take.
async function connected(asked, number) {
  const until = Date.now() + asked.timeout * 1000;
  for (;;) {
    const outcome = await call(asked, number);
    const connects = (outcome.text || '').startsWith('No connection established. Last error: null');
    if (!connects || Date.now() >= until) return outcome;
  }
}

async function main() {
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    const outcomes = [];
    for (let number = 0; number < asked.count; number += 1) {
      outcomes.push(await connected(asked, number));
    }
    console.log(JSON.stringify(outcomes));
  }
  process.exit(0);
}

main();
