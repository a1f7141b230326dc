// Balance prints what the organization of an API key may spend.
//
// OM_GRPC_ADDRESS names the server, OM_API_KEY the key.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	typev1 "github.com/openmonetize/openmonetize/generated/go/om/type/v1"
	walletv1 "github.com/openmonetize/openmonetize/generated/go/om/wallet/v1"
)

const (
	nanosPerUnit = 1_000_000_000
	deadline     = 5 * time.Second
)

func main() {
	address := cmp.Or(os.Getenv("OM_GRPC_ADDRESS"), "localhost:50051")
	available, err := balance(address, os.Getenv("OM_API_KEY"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", reason(err), status.Convert(err).Message())
		os.Exit(1)
	}
	fmt.Println(decimal(available), available.CurrencyCode)
}

func balance(address, key string) (*typev1.Money, error) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	response, err := walletv1.NewWalletServiceClient(connection).GetWallet(ctx, &walletv1.GetWalletRequest{})
	if err != nil {
		return nil, err
	}
	// The getters would turn an answer without an amount into zero credits.
	if response.GetWallet().GetAvailable() == nil {
		return nil, errors.New("the answer has no balance")
	}
	return response.Wallet.Available, nil
}

// decimal is exact: no floating point, no exponent, no trailing zeros.
func decimal(money *typev1.Money) string {
	sign, nanos := "", money.AmountNanos
	if nanos < 0 {
		// The sign of -0.5 is not in its whole part, which is 0.
		sign, nanos = "-", -nanos
	}
	text := fmt.Sprintf("%s%d.%09d", sign, nanos/nanosPerUnit, nanos%nanosPerUnit)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// reason is the contract's ErrorReason; of an error that did not come from the server, its gRPC code.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return status.Code(err).String()
}
