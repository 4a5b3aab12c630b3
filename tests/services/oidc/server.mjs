// A certified OpenID provider. Whoever signs in as "ann" is ann@example.com; as "ann@host",
// that; addresses that begin with "new." are not verified. Ends with its standard input.
import { generateKeyPair, exportJWK } from "jose";
import Provider from "oidc-provider";

const { port, clients } = JSON.parse(process.env.OIDC_TESTS);

async function key(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig", kid: `${alg}-${process.pid}` };
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  jwks: { keys: [await key("RS256"), await key("ES256")] },
  cookies: { keys: ["a secret of these tests"] },
  pkce: { required: () => true },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  findAccount: (_ctx, login) => ({
    accountId: login,
    claims: () => ({
      sub: `account of ${login}`,
      email: login.includes("@") ? login : `${login}@example.com`,
      email_verified: !login.startsWith("new."),
      name: login,
    }),
  }),
});

const server = provider.listen(port, "127.0.0.1", () => console.log("ready"));
process.stdin.on("end", () => { server.close(); process.exit(0); }).resume();
