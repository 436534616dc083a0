// Copyright (c) 2026 The wuying.workspace authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Get a login token in every way that the official Node clients offer. The argument is a JSON object: the host of the emulator,
// access keys by their kind, the operation, and the parameters of the request. Prints the token, or the error, of each way.
'use strict';

const PopCore = require('@alicloud/pop-core');
const clients = ['@alicloud/openapi-client', '@alicloud/openapi-core'];
const { host, keys, action, parameters } = JSON.parse(process.argv[2]);
const version = '2020-10-02';

function byPopCore(key, method) {
  const config = { endpoint: `http://${host}`, apiVersion: version, ...key };
  return new PopCore(config).request(action, parameters, { method });
}

async function byOpenApi(name, key, method, place, signature) {
  const library = require(name);
  const { Config, OpenApiRequest, Params } = library.$OpenApiUtil || library;
  const client = new library.default(new Config({ protocol: 'http', endpoint: host, ...key }));
  const request = new OpenApiRequest({ [place]: parameters });
  const authType = Object.keys(key).length ? 'AK' : 'Anonymous';
  const params = { action, version, protocol: 'HTTP', method, authType, bodyType: 'json' };
  const answer = signature === 'v1'
    ? client.doRPCRequest(...Object.values(params), request, {})
    : client.callApi(new Params({ ...params, style: 'RPC', pathname: '/', reqBodyType: 'formData' }), request, {});
  return (await answer).body;
}

async function main() {
  const ways = {};
  for (const [kind, key] of Object.entries(keys)) {
    for (const [method, place] of [['GET', 'query'], ['POST', 'query'], ['POST', 'body']]) {
      for (const name of clients) {
        for (const signature of ['v1', 'v3']) {
          ways[`${name} ${kind} ${method} ${place} ${signature}`] = () => byOpenApi(name, key, method, place, signature);
        }
      }
    }
    if (kind !== 'anonymous') {
      ways[`@alicloud/pop-core ${kind} GET query v1`] = () => byPopCore(key, 'GET');
      ways[`@alicloud/pop-core ${kind} POST body v1`] = () => byPopCore(key, 'POST');
    }
  }
  const results = {};
  for (const [way, exchange] of Object.entries(ways)) {
    results[way] = await exchange().then((body) => body.LoginToken, String);
  }
  console.log(JSON.stringify(results));
}

main();
