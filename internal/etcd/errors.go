package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/nebula-serve/nebula/internal/store"
)

type sentKey struct{}

// watchSending returns a context whose unary calls set the bool once their request may have left this process.
// Read it after the call.
func watchSending(ctx context.Context) (context.Context, *bool) {
	sent := new(bool)
	return context.WithValue(ctx, sentKey{}, sent), sent
}

// noteSent is the interceptor behind watchSending: gRPC knows the peer once the request has a connection.
func noteSent(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	sent, ok := ctx.Value(sentKey{}).(*bool)
	if !ok {
		return call(ctx, method, req, reply, conn, opts...)
	}
	var p peer.Peer
	err := call(ctx, method, req, reply, conn, append(opts, grpc.Peer(&p))...)
	*sent = *sent || p.Addr != nil
	return err
}

// code is the gRPC status of an error of the client library.
func code(err error) codes.Code {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code()
	}
	return status.Code(err)
}

// known gives an error of etcd the store's name for it.
func known(err error) (error, bool) {
	// A raw status and the library's own error type both compare equal only after this.
	switch is := rpctypes.Error(err); {
	case errors.Is(is, rpctypes.ErrCompacted), errors.Is(is, rpctypes.ErrFutureRev):
		return fmt.Errorf("%w: %w", store.ErrCompacted, err), true
	case errors.Is(is, rpctypes.ErrLeaseNotFound):
		return fmt.Errorf("%w: %w", store.ErrLeaseGone, err), true
	case errors.Is(is, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", store.ErrFull, err), true
	case errors.Is(is, rpctypes.ErrTooManyOps), errors.Is(is, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w: %w", store.ErrTooLarge, err), true
	}
	return err, false
}

// readError names the error of a call that may be repeated without harm.
func readError(err error) error {
	if named, ok := known(err); ok {
		return named
	}
	if errors.Is(err, context.DeadlineExceeded) || code(err) == codes.Unavailable || code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// txnError names the error of a transaction, sent or not. Whatever is not a plain refusal of the server may come
// from a commit whose answer was lost.
func txnError(err error, sent bool) error {
	if named, ok := known(err); ok {
		return named
	}
	if !sent {
		// The context's own error stays out of the chain: a deadline in it would read as an unknown outcome.
		return fmt.Errorf("%w: %s", store.ErrUnavailable, err.Error())
	}
	switch code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.ResourceExhausted,
		codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrAmbiguous, err)
}
