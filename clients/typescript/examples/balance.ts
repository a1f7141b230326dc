// Prints what the organization of an API key may spend.
// OM_GRPC_ADDRESS names the server, OM_API_KEY the key.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { ErrorInfoSchema } from "../src/generated/google/rpc/error_details_pb.js";
import type { Money } from "../src/generated/om/type/v1/money_pb.js";
import { WalletService } from "../src/generated/om/wallet/v1/wallet_service_pb.js";

const NANOS_PER_UNIT = 1_000_000_000n;
const DEADLINE_MS = 5_000;

async function balance(address: string, key: string): Promise<Money> {
  const transport = createGrpcTransport({ baseUrl: `http://${address}`, defaultTimeoutMs: DEADLINE_MS });
  const wallets = createClient(WalletService, transport);
  const { wallet } = await wallets.getWallet({}, { headers: { authorization: `Bearer ${key}` } });
  if (!wallet?.available) {
    throw new Error("the answer has no balance");
  }
  return wallet.available;
}

/** Exact: no floating point, no exponent, no trailing zeros. */
function decimal({ amountNanos }: Money): string {
  // The sign of -0.5 is not in its whole part, which is 0.
  const [sign, nanos] = amountNanos < 0n ? ["-", -amountNanos] : ["", amountNanos];
  const decimals = String(nanos % NANOS_PER_UNIT).padStart(9, "0").replace(/0+$/, "");
  return `${sign}${nanos / NANOS_PER_UNIT}${decimals && `.${decimals}`}`;
}

/** The contract's ErrorReason; of an error that did not come from the server, its gRPC code. */
function reason(error: ConnectError): string {
  return error.findDetails(ErrorInfoSchema)[0]?.reason ?? Code[error.code];
}

const { OM_GRPC_ADDRESS: address = "localhost:50051", OM_API_KEY: key = "" } = process.env;
try {
  const available = await balance(address, key);
  console.log(decimal(available), available.currencyCode);
} catch (caught) {
  const error = ConnectError.from(caught);
  console.error(`${reason(error)}: ${error.rawMessage}`);
  process.exitCode = 1;
}
