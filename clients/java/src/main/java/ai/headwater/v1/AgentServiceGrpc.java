package ai.headwater.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Streams replies of language models, whichever provider serves them. Errors: see ErrorReason.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class AgentServiceGrpc {

  private AgentServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "headwater.v1.AgentService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.StreamRequest,
      ai.headwater.v1.StreamChunk> getStreamMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Stream",
      requestType = ai.headwater.v1.StreamRequest.class,
      responseType = ai.headwater.v1.StreamChunk.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.StreamRequest,
      ai.headwater.v1.StreamChunk> getStreamMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.StreamRequest, ai.headwater.v1.StreamChunk> getStreamMethod;
    if ((getStreamMethod = AgentServiceGrpc.getStreamMethod) == null) {
      synchronized (AgentServiceGrpc.class) {
        if ((getStreamMethod = AgentServiceGrpc.getStreamMethod) == null) {
          AgentServiceGrpc.getStreamMethod = getStreamMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.StreamRequest, ai.headwater.v1.StreamChunk>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Stream"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.StreamRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.StreamChunk.getDefaultInstance()))
              .setSchemaDescriptor(new AgentServiceMethodDescriptorSupplier("Stream"))
              .build();
        }
      }
    }
    return getStreamMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.StreamRequest,
      ai.headwater.v1.RunResponse> getRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Run",
      requestType = ai.headwater.v1.StreamRequest.class,
      responseType = ai.headwater.v1.RunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.StreamRequest,
      ai.headwater.v1.RunResponse> getRunMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.StreamRequest, ai.headwater.v1.RunResponse> getRunMethod;
    if ((getRunMethod = AgentServiceGrpc.getRunMethod) == null) {
      synchronized (AgentServiceGrpc.class) {
        if ((getRunMethod = AgentServiceGrpc.getRunMethod) == null) {
          AgentServiceGrpc.getRunMethod = getRunMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.StreamRequest, ai.headwater.v1.RunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Run"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.StreamRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.RunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AgentServiceMethodDescriptorSupplier("Run"))
              .build();
        }
      }
    }
    return getRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.CancelStreamRequest,
      ai.headwater.v1.CancelStreamResponse> getCancelStreamMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelStream",
      requestType = ai.headwater.v1.CancelStreamRequest.class,
      responseType = ai.headwater.v1.CancelStreamResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.CancelStreamRequest,
      ai.headwater.v1.CancelStreamResponse> getCancelStreamMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.CancelStreamRequest, ai.headwater.v1.CancelStreamResponse> getCancelStreamMethod;
    if ((getCancelStreamMethod = AgentServiceGrpc.getCancelStreamMethod) == null) {
      synchronized (AgentServiceGrpc.class) {
        if ((getCancelStreamMethod = AgentServiceGrpc.getCancelStreamMethod) == null) {
          AgentServiceGrpc.getCancelStreamMethod = getCancelStreamMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.CancelStreamRequest, ai.headwater.v1.CancelStreamResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelStream"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.CancelStreamRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.CancelStreamResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AgentServiceMethodDescriptorSupplier("CancelStream"))
              .build();
        }
      }
    }
    return getCancelStreamMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.ListStreamsRequest,
      ai.headwater.v1.ListStreamsResponse> getListStreamsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListStreams",
      requestType = ai.headwater.v1.ListStreamsRequest.class,
      responseType = ai.headwater.v1.ListStreamsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.ListStreamsRequest,
      ai.headwater.v1.ListStreamsResponse> getListStreamsMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.ListStreamsRequest, ai.headwater.v1.ListStreamsResponse> getListStreamsMethod;
    if ((getListStreamsMethod = AgentServiceGrpc.getListStreamsMethod) == null) {
      synchronized (AgentServiceGrpc.class) {
        if ((getListStreamsMethod = AgentServiceGrpc.getListStreamsMethod) == null) {
          AgentServiceGrpc.getListStreamsMethod = getListStreamsMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.ListStreamsRequest, ai.headwater.v1.ListStreamsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListStreams"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListStreamsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListStreamsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AgentServiceMethodDescriptorSupplier("ListStreams"))
              .build();
        }
      }
    }
    return getListStreamsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.GetProviderInfoRequest,
      ai.headwater.v1.GetProviderInfoResponse> getGetProviderInfoMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetProviderInfo",
      requestType = ai.headwater.v1.GetProviderInfoRequest.class,
      responseType = ai.headwater.v1.GetProviderInfoResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.GetProviderInfoRequest,
      ai.headwater.v1.GetProviderInfoResponse> getGetProviderInfoMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.GetProviderInfoRequest, ai.headwater.v1.GetProviderInfoResponse> getGetProviderInfoMethod;
    if ((getGetProviderInfoMethod = AgentServiceGrpc.getGetProviderInfoMethod) == null) {
      synchronized (AgentServiceGrpc.class) {
        if ((getGetProviderInfoMethod = AgentServiceGrpc.getGetProviderInfoMethod) == null) {
          AgentServiceGrpc.getGetProviderInfoMethod = getGetProviderInfoMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.GetProviderInfoRequest, ai.headwater.v1.GetProviderInfoResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetProviderInfo"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.GetProviderInfoRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.GetProviderInfoResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AgentServiceMethodDescriptorSupplier("GetProviderInfo"))
              .build();
        }
      }
    }
    return getGetProviderInfoMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.ListProvidersRequest,
      ai.headwater.v1.ListProvidersResponse> getListProvidersMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListProviders",
      requestType = ai.headwater.v1.ListProvidersRequest.class,
      responseType = ai.headwater.v1.ListProvidersResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.ListProvidersRequest,
      ai.headwater.v1.ListProvidersResponse> getListProvidersMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.ListProvidersRequest, ai.headwater.v1.ListProvidersResponse> getListProvidersMethod;
    if ((getListProvidersMethod = AgentServiceGrpc.getListProvidersMethod) == null) {
      synchronized (AgentServiceGrpc.class) {
        if ((getListProvidersMethod = AgentServiceGrpc.getListProvidersMethod) == null) {
          AgentServiceGrpc.getListProvidersMethod = getListProvidersMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.ListProvidersRequest, ai.headwater.v1.ListProvidersResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListProviders"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListProvidersRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListProvidersResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AgentServiceMethodDescriptorSupplier("ListProviders"))
              .build();
        }
      }
    }
    return getListProvidersMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.ListModelsRequest,
      ai.headwater.v1.ListModelsResponse> getListModelsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListModels",
      requestType = ai.headwater.v1.ListModelsRequest.class,
      responseType = ai.headwater.v1.ListModelsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.ListModelsRequest,
      ai.headwater.v1.ListModelsResponse> getListModelsMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.ListModelsRequest, ai.headwater.v1.ListModelsResponse> getListModelsMethod;
    if ((getListModelsMethod = AgentServiceGrpc.getListModelsMethod) == null) {
      synchronized (AgentServiceGrpc.class) {
        if ((getListModelsMethod = AgentServiceGrpc.getListModelsMethod) == null) {
          AgentServiceGrpc.getListModelsMethod = getListModelsMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.ListModelsRequest, ai.headwater.v1.ListModelsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListModels"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListModelsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListModelsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AgentServiceMethodDescriptorSupplier("ListModels"))
              .build();
        }
      }
    }
    return getListModelsMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static AgentServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AgentServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AgentServiceStub>() {
        @java.lang.Override
        public AgentServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AgentServiceStub(channel, callOptions);
        }
      };
    return AgentServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static AgentServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AgentServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AgentServiceBlockingV2Stub>() {
        @java.lang.Override
        public AgentServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AgentServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return AgentServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static AgentServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AgentServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AgentServiceBlockingStub>() {
        @java.lang.Override
        public AgentServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AgentServiceBlockingStub(channel, callOptions);
        }
      };
    return AgentServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static AgentServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AgentServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AgentServiceFutureStub>() {
        @java.lang.Override
        public AgentServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AgentServiceFutureStub(channel, callOptions);
        }
      };
    return AgentServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Streams replies of language models, whichever provider serves them. Errors: see ErrorReason.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Streams a reply, chunk by chunk. Response headers go out when the stream is accepted: `headwater-stream-id` and
     * `headwater-version`. A caller that leaves ends the provider's work too.
     * </pre>
     */
    default void stream(ai.headwater.v1.StreamRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.StreamChunk> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStreamMethod(), responseObserver);
    }

    /**
     * <pre>
     * The same request with the whole reply in one answer. RESOURCE_EXHAUSTED, reason REPLY_TOO_LARGE, when that is
     * over 3 MiB. The headers come with the answer; meanwhile ListStreams shows the stream.
     * </pre>
     */
    default void run(ai.headwater.v1.StreamRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.RunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * Ends a running stream: its reader gets what has arrived, then CANCELLED. NOT_FOUND when no such stream runs.
     * </pre>
     */
    default void cancelStream(ai.headwater.v1.CancelStreamRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.CancelStreamResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelStreamMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists the running streams, oldest first.
     * </pre>
     */
    default void listStreams(ai.headwater.v1.ListStreamsRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListStreamsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListStreamsMethod(), responseObserver);
    }

    /**
     * <pre>
     * What a provider and a model can do. Errors as for Stream.
     * </pre>
     */
    default void getProviderInfo(ai.headwater.v1.GetProviderInfoRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.GetProviderInfoResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetProviderInfoMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists the providers that are configured, by name.
     * </pre>
     */
    default void listProviders(ai.headwater.v1.ListProvidersRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListProvidersResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListProvidersMethod(), responseObserver);
    }

    /**
     * <pre>
     * Asks a provider for its models. UNAVAILABLE when it cannot be reached.
     * </pre>
     */
    default void listModels(ai.headwater.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListModelsMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service AgentService.
   * <pre>
   * Streams replies of language models, whichever provider serves them. Errors: see ErrorReason.
   * </pre>
   */
  public static abstract class AgentServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return AgentServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service AgentService.
   * <pre>
   * Streams replies of language models, whichever provider serves them. Errors: see ErrorReason.
   * </pre>
   */
  public static final class AgentServiceStub
      extends io.grpc.stub.AbstractAsyncStub<AgentServiceStub> {
    private AgentServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AgentServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AgentServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Streams a reply, chunk by chunk. Response headers go out when the stream is accepted: `headwater-stream-id` and
     * `headwater-version`. A caller that leaves ends the provider's work too.
     * </pre>
     */
    public void stream(ai.headwater.v1.StreamRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.StreamChunk> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getStreamMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * The same request with the whole reply in one answer. RESOURCE_EXHAUSTED, reason REPLY_TOO_LARGE, when that is
     * over 3 MiB. The headers come with the answer; meanwhile ListStreams shows the stream.
     * </pre>
     */
    public void run(ai.headwater.v1.StreamRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.RunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Ends a running stream: its reader gets what has arrived, then CANCELLED. NOT_FOUND when no such stream runs.
     * </pre>
     */
    public void cancelStream(ai.headwater.v1.CancelStreamRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.CancelStreamResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelStreamMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists the running streams, oldest first.
     * </pre>
     */
    public void listStreams(ai.headwater.v1.ListStreamsRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListStreamsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListStreamsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * What a provider and a model can do. Errors as for Stream.
     * </pre>
     */
    public void getProviderInfo(ai.headwater.v1.GetProviderInfoRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.GetProviderInfoResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetProviderInfoMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists the providers that are configured, by name.
     * </pre>
     */
    public void listProviders(ai.headwater.v1.ListProvidersRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListProvidersResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListProvidersMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Asks a provider for its models. UNAVAILABLE when it cannot be reached.
     * </pre>
     */
    public void listModels(ai.headwater.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service AgentService.
   * <pre>
   * Streams replies of language models, whichever provider serves them. Errors: see ErrorReason.
   * </pre>
   */
  public static final class AgentServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<AgentServiceBlockingV2Stub> {
    private AgentServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AgentServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AgentServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Streams a reply, chunk by chunk. Response headers go out when the stream is accepted: `headwater-stream-id` and
     * `headwater-version`. A caller that leaves ends the provider's work too.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, ai.headwater.v1.StreamChunk>
        stream(ai.headwater.v1.StreamRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getStreamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The same request with the whole reply in one answer. RESOURCE_EXHAUSTED, reason REPLY_TOO_LARGE, when that is
     * over 3 MiB. The headers come with the answer; meanwhile ListStreams shows the stream.
     * </pre>
     */
    public ai.headwater.v1.RunResponse run(ai.headwater.v1.StreamRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a running stream: its reader gets what has arrived, then CANCELLED. NOT_FOUND when no such stream runs.
     * </pre>
     */
    public ai.headwater.v1.CancelStreamResponse cancelStream(ai.headwater.v1.CancelStreamRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelStreamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the running streams, oldest first.
     * </pre>
     */
    public ai.headwater.v1.ListStreamsResponse listStreams(ai.headwater.v1.ListStreamsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListStreamsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * What a provider and a model can do. Errors as for Stream.
     * </pre>
     */
    public ai.headwater.v1.GetProviderInfoResponse getProviderInfo(ai.headwater.v1.GetProviderInfoRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetProviderInfoMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the providers that are configured, by name.
     * </pre>
     */
    public ai.headwater.v1.ListProvidersResponse listProviders(ai.headwater.v1.ListProvidersRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListProvidersMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Asks a provider for its models. UNAVAILABLE when it cannot be reached.
     * </pre>
     */
    public ai.headwater.v1.ListModelsResponse listModels(ai.headwater.v1.ListModelsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service AgentService.
   * <pre>
   * Streams replies of language models, whichever provider serves them. Errors: see ErrorReason.
   * </pre>
   */
  public static final class AgentServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<AgentServiceBlockingStub> {
    private AgentServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AgentServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AgentServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Streams a reply, chunk by chunk. Response headers go out when the stream is accepted: `headwater-stream-id` and
     * `headwater-version`. A caller that leaves ends the provider's work too.
     * </pre>
     */
    public java.util.Iterator<ai.headwater.v1.StreamChunk> stream(
        ai.headwater.v1.StreamRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getStreamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * The same request with the whole reply in one answer. RESOURCE_EXHAUSTED, reason REPLY_TOO_LARGE, when that is
     * over 3 MiB. The headers come with the answer; meanwhile ListStreams shows the stream.
     * </pre>
     */
    public ai.headwater.v1.RunResponse run(ai.headwater.v1.StreamRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a running stream: its reader gets what has arrived, then CANCELLED. NOT_FOUND when no such stream runs.
     * </pre>
     */
    public ai.headwater.v1.CancelStreamResponse cancelStream(ai.headwater.v1.CancelStreamRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelStreamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the running streams, oldest first.
     * </pre>
     */
    public ai.headwater.v1.ListStreamsResponse listStreams(ai.headwater.v1.ListStreamsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListStreamsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * What a provider and a model can do. Errors as for Stream.
     * </pre>
     */
    public ai.headwater.v1.GetProviderInfoResponse getProviderInfo(ai.headwater.v1.GetProviderInfoRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetProviderInfoMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the providers that are configured, by name.
     * </pre>
     */
    public ai.headwater.v1.ListProvidersResponse listProviders(ai.headwater.v1.ListProvidersRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListProvidersMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Asks a provider for its models. UNAVAILABLE when it cannot be reached.
     * </pre>
     */
    public ai.headwater.v1.ListModelsResponse listModels(ai.headwater.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service AgentService.
   * <pre>
   * Streams replies of language models, whichever provider serves them. Errors: see ErrorReason.
   * </pre>
   */
  public static final class AgentServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<AgentServiceFutureStub> {
    private AgentServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AgentServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AgentServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * The same request with the whole reply in one answer. RESOURCE_EXHAUSTED, reason REPLY_TOO_LARGE, when that is
     * over 3 MiB. The headers come with the answer; meanwhile ListStreams shows the stream.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.RunResponse> run(
        ai.headwater.v1.StreamRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRunMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Ends a running stream: its reader gets what has arrived, then CANCELLED. NOT_FOUND when no such stream runs.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.CancelStreamResponse> cancelStream(
        ai.headwater.v1.CancelStreamRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelStreamMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists the running streams, oldest first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.ListStreamsResponse> listStreams(
        ai.headwater.v1.ListStreamsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListStreamsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * What a provider and a model can do. Errors as for Stream.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.GetProviderInfoResponse> getProviderInfo(
        ai.headwater.v1.GetProviderInfoRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetProviderInfoMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists the providers that are configured, by name.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.ListProvidersResponse> listProviders(
        ai.headwater.v1.ListProvidersRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListProvidersMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Asks a provider for its models. UNAVAILABLE when it cannot be reached.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.ListModelsResponse> listModels(
        ai.headwater.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_STREAM = 0;
  private static final int METHODID_RUN = 1;
  private static final int METHODID_CANCEL_STREAM = 2;
  private static final int METHODID_LIST_STREAMS = 3;
  private static final int METHODID_GET_PROVIDER_INFO = 4;
  private static final int METHODID_LIST_PROVIDERS = 5;
  private static final int METHODID_LIST_MODELS = 6;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_STREAM:
          serviceImpl.stream((ai.headwater.v1.StreamRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.StreamChunk>) responseObserver);
          break;
        case METHODID_RUN:
          serviceImpl.run((ai.headwater.v1.StreamRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.RunResponse>) responseObserver);
          break;
        case METHODID_CANCEL_STREAM:
          serviceImpl.cancelStream((ai.headwater.v1.CancelStreamRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.CancelStreamResponse>) responseObserver);
          break;
        case METHODID_LIST_STREAMS:
          serviceImpl.listStreams((ai.headwater.v1.ListStreamsRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.ListStreamsResponse>) responseObserver);
          break;
        case METHODID_GET_PROVIDER_INFO:
          serviceImpl.getProviderInfo((ai.headwater.v1.GetProviderInfoRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.GetProviderInfoResponse>) responseObserver);
          break;
        case METHODID_LIST_PROVIDERS:
          serviceImpl.listProviders((ai.headwater.v1.ListProvidersRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.ListProvidersResponse>) responseObserver);
          break;
        case METHODID_LIST_MODELS:
          serviceImpl.listModels((ai.headwater.v1.ListModelsRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.ListModelsResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getStreamMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              ai.headwater.v1.StreamRequest,
              ai.headwater.v1.StreamChunk>(
                service, METHODID_STREAM)))
        .addMethod(
          getRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.StreamRequest,
              ai.headwater.v1.RunResponse>(
                service, METHODID_RUN)))
        .addMethod(
          getCancelStreamMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.CancelStreamRequest,
              ai.headwater.v1.CancelStreamResponse>(
                service, METHODID_CANCEL_STREAM)))
        .addMethod(
          getListStreamsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.ListStreamsRequest,
              ai.headwater.v1.ListStreamsResponse>(
                service, METHODID_LIST_STREAMS)))
        .addMethod(
          getGetProviderInfoMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.GetProviderInfoRequest,
              ai.headwater.v1.GetProviderInfoResponse>(
                service, METHODID_GET_PROVIDER_INFO)))
        .addMethod(
          getListProvidersMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.ListProvidersRequest,
              ai.headwater.v1.ListProvidersResponse>(
                service, METHODID_LIST_PROVIDERS)))
        .addMethod(
          getListModelsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.ListModelsRequest,
              ai.headwater.v1.ListModelsResponse>(
                service, METHODID_LIST_MODELS)))
        .build();
  }

  private static abstract class AgentServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    AgentServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return ai.headwater.v1.AgentServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("AgentService");
    }
  }

  private static final class AgentServiceFileDescriptorSupplier
      extends AgentServiceBaseDescriptorSupplier {
    AgentServiceFileDescriptorSupplier() {}
  }

  private static final class AgentServiceMethodDescriptorSupplier
      extends AgentServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    AgentServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (AgentServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new AgentServiceFileDescriptorSupplier())
              .addMethod(getStreamMethod())
              .addMethod(getRunMethod())
              .addMethod(getCancelStreamMethod())
              .addMethod(getListStreamsMethod())
              .addMethod(getGetProviderInfoMethod())
              .addMethod(getListProvidersMethod())
              .addMethod(getListModelsMethod())
              .build();
        }
      }
    }
    return result;
  }
}
