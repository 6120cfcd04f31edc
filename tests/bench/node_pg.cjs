// SPDX-License-Identifier: BSL-1.0
// node node_pg.cjs CONNINFO USERS COUNT: what sql_bench measures, by the `pg` package, with prepared statements.
const { Client } = require('pg');

const [conninfo, users, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const field = (name) => (conninfo.match(new RegExp(`(?:^|\\s)${name}=(\\S+)`)) || [])[1];
const options = { host: field('host'), port: Number(field('port') || 5432), user: field('user'), database: field('dbname') };

async function select(client, n) {
  for (let i = 0; i < n; ++i) {
    const id = (i % 1000) + 1;
    const { rows } = await client.query({ name: 'item', text: 'select id, name from item where id = $1', values: [id] });
    if (rows.length !== 1 || rows[0].id !== id) throw new Error('wrong row');
  }
}

(async () => {
  const clients = Array.from({ length: users }, () => new Client(options));
  await Promise.all(clients.map((c) => c.connect()));
  await Promise.all(clients.map((c) => select(c, 100)));
  const start = process.hrtime.bigint();
  await Promise.all(clients.map((c) => select(c, count / users)));
  console.log(`tps = ${count / (Number(process.hrtime.bigint() - start) / 1e9)}`);
  await Promise.all(clients.map((c) => c.end()));
})().catch((e) => {
  console.error(e.message);
  process.exit(1);
});
