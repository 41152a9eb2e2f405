package ai.headwater.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Runs workflows. A run belongs to the server, not to its caller: it goes on when the caller leaves, and over a restart
 * of the server. An unknown run is NOT_FOUND, reason RUN_NOT_FOUND.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class WorkflowServiceGrpc {

  private WorkflowServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "headwater.v1.WorkflowService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.ValidateWorkflowRequest,
      ai.headwater.v1.ValidateWorkflowResponse> getValidateWorkflowMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ValidateWorkflow",
      requestType = ai.headwater.v1.ValidateWorkflowRequest.class,
      responseType = ai.headwater.v1.ValidateWorkflowResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.ValidateWorkflowRequest,
      ai.headwater.v1.ValidateWorkflowResponse> getValidateWorkflowMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.ValidateWorkflowRequest, ai.headwater.v1.ValidateWorkflowResponse> getValidateWorkflowMethod;
    if ((getValidateWorkflowMethod = WorkflowServiceGrpc.getValidateWorkflowMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getValidateWorkflowMethod = WorkflowServiceGrpc.getValidateWorkflowMethod) == null) {
          WorkflowServiceGrpc.getValidateWorkflowMethod = getValidateWorkflowMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.ValidateWorkflowRequest, ai.headwater.v1.ValidateWorkflowResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ValidateWorkflow"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ValidateWorkflowRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ValidateWorkflowResponse.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("ValidateWorkflow"))
              .build();
        }
      }
    }
    return getValidateWorkflowMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.ExecuteWorkflowRequest,
      ai.headwater.v1.WorkflowEvent> getExecuteWorkflowMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ExecuteWorkflow",
      requestType = ai.headwater.v1.ExecuteWorkflowRequest.class,
      responseType = ai.headwater.v1.WorkflowEvent.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.ExecuteWorkflowRequest,
      ai.headwater.v1.WorkflowEvent> getExecuteWorkflowMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.ExecuteWorkflowRequest, ai.headwater.v1.WorkflowEvent> getExecuteWorkflowMethod;
    if ((getExecuteWorkflowMethod = WorkflowServiceGrpc.getExecuteWorkflowMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getExecuteWorkflowMethod = WorkflowServiceGrpc.getExecuteWorkflowMethod) == null) {
          WorkflowServiceGrpc.getExecuteWorkflowMethod = getExecuteWorkflowMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.ExecuteWorkflowRequest, ai.headwater.v1.WorkflowEvent>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ExecuteWorkflow"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ExecuteWorkflowRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.WorkflowEvent.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("ExecuteWorkflow"))
              .build();
        }
      }
    }
    return getExecuteWorkflowMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.StartWorkflowRunRequest,
      ai.headwater.v1.StartWorkflowRunResponse> getStartWorkflowRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "StartWorkflowRun",
      requestType = ai.headwater.v1.StartWorkflowRunRequest.class,
      responseType = ai.headwater.v1.StartWorkflowRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.StartWorkflowRunRequest,
      ai.headwater.v1.StartWorkflowRunResponse> getStartWorkflowRunMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.StartWorkflowRunRequest, ai.headwater.v1.StartWorkflowRunResponse> getStartWorkflowRunMethod;
    if ((getStartWorkflowRunMethod = WorkflowServiceGrpc.getStartWorkflowRunMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getStartWorkflowRunMethod = WorkflowServiceGrpc.getStartWorkflowRunMethod) == null) {
          WorkflowServiceGrpc.getStartWorkflowRunMethod = getStartWorkflowRunMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.StartWorkflowRunRequest, ai.headwater.v1.StartWorkflowRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "StartWorkflowRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.StartWorkflowRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.StartWorkflowRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("StartWorkflowRun"))
              .build();
        }
      }
    }
    return getStartWorkflowRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.WatchWorkflowRunRequest,
      ai.headwater.v1.WorkflowEvent> getWatchWorkflowRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WatchWorkflowRun",
      requestType = ai.headwater.v1.WatchWorkflowRunRequest.class,
      responseType = ai.headwater.v1.WorkflowEvent.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.WatchWorkflowRunRequest,
      ai.headwater.v1.WorkflowEvent> getWatchWorkflowRunMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.WatchWorkflowRunRequest, ai.headwater.v1.WorkflowEvent> getWatchWorkflowRunMethod;
    if ((getWatchWorkflowRunMethod = WorkflowServiceGrpc.getWatchWorkflowRunMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getWatchWorkflowRunMethod = WorkflowServiceGrpc.getWatchWorkflowRunMethod) == null) {
          WorkflowServiceGrpc.getWatchWorkflowRunMethod = getWatchWorkflowRunMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.WatchWorkflowRunRequest, ai.headwater.v1.WorkflowEvent>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WatchWorkflowRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.WatchWorkflowRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.WorkflowEvent.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("WatchWorkflowRun"))
              .build();
        }
      }
    }
    return getWatchWorkflowRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.GetWorkflowRunRequest,
      ai.headwater.v1.GetWorkflowRunResponse> getGetWorkflowRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetWorkflowRun",
      requestType = ai.headwater.v1.GetWorkflowRunRequest.class,
      responseType = ai.headwater.v1.GetWorkflowRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.GetWorkflowRunRequest,
      ai.headwater.v1.GetWorkflowRunResponse> getGetWorkflowRunMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.GetWorkflowRunRequest, ai.headwater.v1.GetWorkflowRunResponse> getGetWorkflowRunMethod;
    if ((getGetWorkflowRunMethod = WorkflowServiceGrpc.getGetWorkflowRunMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getGetWorkflowRunMethod = WorkflowServiceGrpc.getGetWorkflowRunMethod) == null) {
          WorkflowServiceGrpc.getGetWorkflowRunMethod = getGetWorkflowRunMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.GetWorkflowRunRequest, ai.headwater.v1.GetWorkflowRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetWorkflowRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.GetWorkflowRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.GetWorkflowRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("GetWorkflowRun"))
              .build();
        }
      }
    }
    return getGetWorkflowRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.ListWorkflowRunsRequest,
      ai.headwater.v1.ListWorkflowRunsResponse> getListWorkflowRunsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListWorkflowRuns",
      requestType = ai.headwater.v1.ListWorkflowRunsRequest.class,
      responseType = ai.headwater.v1.ListWorkflowRunsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.ListWorkflowRunsRequest,
      ai.headwater.v1.ListWorkflowRunsResponse> getListWorkflowRunsMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.ListWorkflowRunsRequest, ai.headwater.v1.ListWorkflowRunsResponse> getListWorkflowRunsMethod;
    if ((getListWorkflowRunsMethod = WorkflowServiceGrpc.getListWorkflowRunsMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getListWorkflowRunsMethod = WorkflowServiceGrpc.getListWorkflowRunsMethod) == null) {
          WorkflowServiceGrpc.getListWorkflowRunsMethod = getListWorkflowRunsMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.ListWorkflowRunsRequest, ai.headwater.v1.ListWorkflowRunsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListWorkflowRuns"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListWorkflowRunsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ListWorkflowRunsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("ListWorkflowRuns"))
              .build();
        }
      }
    }
    return getListWorkflowRunsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.CancelWorkflowRunRequest,
      ai.headwater.v1.CancelWorkflowRunResponse> getCancelWorkflowRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelWorkflowRun",
      requestType = ai.headwater.v1.CancelWorkflowRunRequest.class,
      responseType = ai.headwater.v1.CancelWorkflowRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.CancelWorkflowRunRequest,
      ai.headwater.v1.CancelWorkflowRunResponse> getCancelWorkflowRunMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.CancelWorkflowRunRequest, ai.headwater.v1.CancelWorkflowRunResponse> getCancelWorkflowRunMethod;
    if ((getCancelWorkflowRunMethod = WorkflowServiceGrpc.getCancelWorkflowRunMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getCancelWorkflowRunMethod = WorkflowServiceGrpc.getCancelWorkflowRunMethod) == null) {
          WorkflowServiceGrpc.getCancelWorkflowRunMethod = getCancelWorkflowRunMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.CancelWorkflowRunRequest, ai.headwater.v1.CancelWorkflowRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelWorkflowRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.CancelWorkflowRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.CancelWorkflowRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("CancelWorkflowRun"))
              .build();
        }
      }
    }
    return getCancelWorkflowRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<ai.headwater.v1.ResumeWorkflowRunRequest,
      ai.headwater.v1.ResumeWorkflowRunResponse> getResumeWorkflowRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ResumeWorkflowRun",
      requestType = ai.headwater.v1.ResumeWorkflowRunRequest.class,
      responseType = ai.headwater.v1.ResumeWorkflowRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<ai.headwater.v1.ResumeWorkflowRunRequest,
      ai.headwater.v1.ResumeWorkflowRunResponse> getResumeWorkflowRunMethod() {
    io.grpc.MethodDescriptor<ai.headwater.v1.ResumeWorkflowRunRequest, ai.headwater.v1.ResumeWorkflowRunResponse> getResumeWorkflowRunMethod;
    if ((getResumeWorkflowRunMethod = WorkflowServiceGrpc.getResumeWorkflowRunMethod) == null) {
      synchronized (WorkflowServiceGrpc.class) {
        if ((getResumeWorkflowRunMethod = WorkflowServiceGrpc.getResumeWorkflowRunMethod) == null) {
          WorkflowServiceGrpc.getResumeWorkflowRunMethod = getResumeWorkflowRunMethod =
              io.grpc.MethodDescriptor.<ai.headwater.v1.ResumeWorkflowRunRequest, ai.headwater.v1.ResumeWorkflowRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ResumeWorkflowRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ResumeWorkflowRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  ai.headwater.v1.ResumeWorkflowRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new WorkflowServiceMethodDescriptorSupplier("ResumeWorkflowRun"))
              .build();
        }
      }
    }
    return getResumeWorkflowRunMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static WorkflowServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceStub>() {
        @java.lang.Override
        public WorkflowServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new WorkflowServiceStub(channel, callOptions);
        }
      };
    return WorkflowServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static WorkflowServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceBlockingV2Stub>() {
        @java.lang.Override
        public WorkflowServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new WorkflowServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return WorkflowServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static WorkflowServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceBlockingStub>() {
        @java.lang.Override
        public WorkflowServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new WorkflowServiceBlockingStub(channel, callOptions);
        }
      };
    return WorkflowServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static WorkflowServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<WorkflowServiceFutureStub>() {
        @java.lang.Override
        public WorkflowServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new WorkflowServiceFutureStub(channel, callOptions);
        }
      };
    return WorkflowServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Runs workflows. A run belongs to the server, not to its caller: it goes on when the caller leaves, and over a restart
   * of the server. An unknown run is NOT_FOUND, reason RUN_NOT_FOUND.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Names every mistake of a definition without running it. The answer is OK with violations for a workflow that has
     * some.
     * </pre>
     */
    default void validateWorkflow(ai.headwater.v1.ValidateWorkflowRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ValidateWorkflowResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getValidateWorkflowMethod(), responseObserver);
    }

    /**
     * <pre>
     * Starts a run and streams its events to the end. The first event has the run's id. Errors as StartWorkflowRun; with
     * the `request_id` of a run that was started before, its events are streamed from the first.
     * </pre>
     */
    default void executeWorkflow(ai.headwater.v1.ExecuteWorkflowRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.WorkflowEvent> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getExecuteWorkflowMethod(), responseObserver);
    }

    /**
     * <pre>
     * Starts a run. INVALID_ARGUMENT, reason WORKFLOW_INVALID, names every mistake; ALREADY_EXISTS, reason
     * REQUEST_ID_REUSED, for a `request_id` that was used with another request.
     * </pre>
     */
    default void startWorkflowRun(ai.headwater.v1.StartWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.StartWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStartWorkflowRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * Streams the events of a run, the stored ones first, then live, until the run has ended.
     * </pre>
     */
    default void watchWorkflowRun(ai.headwater.v1.WatchWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.WorkflowEvent> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWatchWorkflowRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * How far a run is, with context and results.
     * </pre>
     */
    default void getWorkflowRun(ai.headwater.v1.GetWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.GetWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetWorkflowRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists runs, newest first.
     * </pre>
     */
    default void listWorkflowRuns(ai.headwater.v1.ListWorkflowRunsRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListWorkflowRunsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListWorkflowRunsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Ends a run: running steps are interrupted. Answers when it has ended. FAILED_PRECONDITION, reason RUN_STATE, when it
     * completed or failed before; OK when it was cancelled before.
     * </pre>
     */
    default void cancelWorkflowRun(ai.headwater.v1.CancelWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.CancelWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelWorkflowRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * Goes on with a failed or cancelled run: steps that failed, were cancelled, or were skipped because of those, start
     * over; completed ones keep their results. OK for a run that runs. FAILED_PRECONDITION, reason RUN_STATE, for a
     * completed one.
     * </pre>
     */
    default void resumeWorkflowRun(ai.headwater.v1.ResumeWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ResumeWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getResumeWorkflowRunMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service WorkflowService.
   * <pre>
   * Runs workflows. A run belongs to the server, not to its caller: it goes on when the caller leaves, and over a restart
   * of the server. An unknown run is NOT_FOUND, reason RUN_NOT_FOUND.
   * </pre>
   */
  public static abstract class WorkflowServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return WorkflowServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service WorkflowService.
   * <pre>
   * Runs workflows. A run belongs to the server, not to its caller: it goes on when the caller leaves, and over a restart
   * of the server. An unknown run is NOT_FOUND, reason RUN_NOT_FOUND.
   * </pre>
   */
  public static final class WorkflowServiceStub
      extends io.grpc.stub.AbstractAsyncStub<WorkflowServiceStub> {
    private WorkflowServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected WorkflowServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new WorkflowServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Names every mistake of a definition without running it. The answer is OK with violations for a workflow that has
     * some.
     * </pre>
     */
    public void validateWorkflow(ai.headwater.v1.ValidateWorkflowRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ValidateWorkflowResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getValidateWorkflowMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Starts a run and streams its events to the end. The first event has the run's id. Errors as StartWorkflowRun; with
     * the `request_id` of a run that was started before, its events are streamed from the first.
     * </pre>
     */
    public void executeWorkflow(ai.headwater.v1.ExecuteWorkflowRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.WorkflowEvent> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getExecuteWorkflowMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Starts a run. INVALID_ARGUMENT, reason WORKFLOW_INVALID, names every mistake; ALREADY_EXISTS, reason
     * REQUEST_ID_REUSED, for a `request_id` that was used with another request.
     * </pre>
     */
    public void startWorkflowRun(ai.headwater.v1.StartWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.StartWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getStartWorkflowRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Streams the events of a run, the stored ones first, then live, until the run has ended.
     * </pre>
     */
    public void watchWorkflowRun(ai.headwater.v1.WatchWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.WorkflowEvent> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getWatchWorkflowRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * How far a run is, with context and results.
     * </pre>
     */
    public void getWorkflowRun(ai.headwater.v1.GetWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.GetWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetWorkflowRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists runs, newest first.
     * </pre>
     */
    public void listWorkflowRuns(ai.headwater.v1.ListWorkflowRunsRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ListWorkflowRunsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListWorkflowRunsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Ends a run: running steps are interrupted. Answers when it has ended. FAILED_PRECONDITION, reason RUN_STATE, when it
     * completed or failed before; OK when it was cancelled before.
     * </pre>
     */
    public void cancelWorkflowRun(ai.headwater.v1.CancelWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.CancelWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelWorkflowRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Goes on with a failed or cancelled run: steps that failed, were cancelled, or were skipped because of those, start
     * over; completed ones keep their results. OK for a run that runs. FAILED_PRECONDITION, reason RUN_STATE, for a
     * completed one.
     * </pre>
     */
    public void resumeWorkflowRun(ai.headwater.v1.ResumeWorkflowRunRequest request,
        io.grpc.stub.StreamObserver<ai.headwater.v1.ResumeWorkflowRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getResumeWorkflowRunMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service WorkflowService.
   * <pre>
   * Runs workflows. A run belongs to the server, not to its caller: it goes on when the caller leaves, and over a restart
   * of the server. An unknown run is NOT_FOUND, reason RUN_NOT_FOUND.
   * </pre>
   */
  public static final class WorkflowServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<WorkflowServiceBlockingV2Stub> {
    private WorkflowServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected WorkflowServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new WorkflowServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Names every mistake of a definition without running it. The answer is OK with violations for a workflow that has
     * some.
     * </pre>
     */
    public ai.headwater.v1.ValidateWorkflowResponse validateWorkflow(ai.headwater.v1.ValidateWorkflowRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getValidateWorkflowMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Starts a run and streams its events to the end. The first event has the run's id. Errors as StartWorkflowRun; with
     * the `request_id` of a run that was started before, its events are streamed from the first.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, ai.headwater.v1.WorkflowEvent>
        executeWorkflow(ai.headwater.v1.ExecuteWorkflowRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getExecuteWorkflowMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Starts a run. INVALID_ARGUMENT, reason WORKFLOW_INVALID, names every mistake; ALREADY_EXISTS, reason
     * REQUEST_ID_REUSED, for a `request_id` that was used with another request.
     * </pre>
     */
    public ai.headwater.v1.StartWorkflowRunResponse startWorkflowRun(ai.headwater.v1.StartWorkflowRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getStartWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Streams the events of a run, the stored ones first, then live, until the run has ended.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, ai.headwater.v1.WorkflowEvent>
        watchWorkflowRun(ai.headwater.v1.WatchWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getWatchWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * How far a run is, with context and results.
     * </pre>
     */
    public ai.headwater.v1.GetWorkflowRunResponse getWorkflowRun(ai.headwater.v1.GetWorkflowRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists runs, newest first.
     * </pre>
     */
    public ai.headwater.v1.ListWorkflowRunsResponse listWorkflowRuns(ai.headwater.v1.ListWorkflowRunsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListWorkflowRunsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a run: running steps are interrupted. Answers when it has ended. FAILED_PRECONDITION, reason RUN_STATE, when it
     * completed or failed before; OK when it was cancelled before.
     * </pre>
     */
    public ai.headwater.v1.CancelWorkflowRunResponse cancelWorkflowRun(ai.headwater.v1.CancelWorkflowRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Goes on with a failed or cancelled run: steps that failed, were cancelled, or were skipped because of those, start
     * over; completed ones keep their results. OK for a run that runs. FAILED_PRECONDITION, reason RUN_STATE, for a
     * completed one.
     * </pre>
     */
    public ai.headwater.v1.ResumeWorkflowRunResponse resumeWorkflowRun(ai.headwater.v1.ResumeWorkflowRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getResumeWorkflowRunMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service WorkflowService.
   * <pre>
   * Runs workflows. A run belongs to the server, not to its caller: it goes on when the caller leaves, and over a restart
   * of the server. An unknown run is NOT_FOUND, reason RUN_NOT_FOUND.
   * </pre>
   */
  public static final class WorkflowServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<WorkflowServiceBlockingStub> {
    private WorkflowServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected WorkflowServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new WorkflowServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Names every mistake of a definition without running it. The answer is OK with violations for a workflow that has
     * some.
     * </pre>
     */
    public ai.headwater.v1.ValidateWorkflowResponse validateWorkflow(ai.headwater.v1.ValidateWorkflowRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getValidateWorkflowMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Starts a run and streams its events to the end. The first event has the run's id. Errors as StartWorkflowRun; with
     * the `request_id` of a run that was started before, its events are streamed from the first.
     * </pre>
     */
    public java.util.Iterator<ai.headwater.v1.WorkflowEvent> executeWorkflow(
        ai.headwater.v1.ExecuteWorkflowRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getExecuteWorkflowMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Starts a run. INVALID_ARGUMENT, reason WORKFLOW_INVALID, names every mistake; ALREADY_EXISTS, reason
     * REQUEST_ID_REUSED, for a `request_id` that was used with another request.
     * </pre>
     */
    public ai.headwater.v1.StartWorkflowRunResponse startWorkflowRun(ai.headwater.v1.StartWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getStartWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Streams the events of a run, the stored ones first, then live, until the run has ended.
     * </pre>
     */
    public java.util.Iterator<ai.headwater.v1.WorkflowEvent> watchWorkflowRun(
        ai.headwater.v1.WatchWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getWatchWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * How far a run is, with context and results.
     * </pre>
     */
    public ai.headwater.v1.GetWorkflowRunResponse getWorkflowRun(ai.headwater.v1.GetWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists runs, newest first.
     * </pre>
     */
    public ai.headwater.v1.ListWorkflowRunsResponse listWorkflowRuns(ai.headwater.v1.ListWorkflowRunsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListWorkflowRunsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a run: running steps are interrupted. Answers when it has ended. FAILED_PRECONDITION, reason RUN_STATE, when it
     * completed or failed before; OK when it was cancelled before.
     * </pre>
     */
    public ai.headwater.v1.CancelWorkflowRunResponse cancelWorkflowRun(ai.headwater.v1.CancelWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelWorkflowRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Goes on with a failed or cancelled run: steps that failed, were cancelled, or were skipped because of those, start
     * over; completed ones keep their results. OK for a run that runs. FAILED_PRECONDITION, reason RUN_STATE, for a
     * completed one.
     * </pre>
     */
    public ai.headwater.v1.ResumeWorkflowRunResponse resumeWorkflowRun(ai.headwater.v1.ResumeWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getResumeWorkflowRunMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service WorkflowService.
   * <pre>
   * Runs workflows. A run belongs to the server, not to its caller: it goes on when the caller leaves, and over a restart
   * of the server. An unknown run is NOT_FOUND, reason RUN_NOT_FOUND.
   * </pre>
   */
  public static final class WorkflowServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<WorkflowServiceFutureStub> {
    private WorkflowServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected WorkflowServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new WorkflowServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Names every mistake of a definition without running it. The answer is OK with violations for a workflow that has
     * some.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.ValidateWorkflowResponse> validateWorkflow(
        ai.headwater.v1.ValidateWorkflowRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getValidateWorkflowMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Starts a run. INVALID_ARGUMENT, reason WORKFLOW_INVALID, names every mistake; ALREADY_EXISTS, reason
     * REQUEST_ID_REUSED, for a `request_id` that was used with another request.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.StartWorkflowRunResponse> startWorkflowRun(
        ai.headwater.v1.StartWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getStartWorkflowRunMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * How far a run is, with context and results.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.GetWorkflowRunResponse> getWorkflowRun(
        ai.headwater.v1.GetWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetWorkflowRunMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists runs, newest first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.ListWorkflowRunsResponse> listWorkflowRuns(
        ai.headwater.v1.ListWorkflowRunsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListWorkflowRunsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Ends a run: running steps are interrupted. Answers when it has ended. FAILED_PRECONDITION, reason RUN_STATE, when it
     * completed or failed before; OK when it was cancelled before.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.CancelWorkflowRunResponse> cancelWorkflowRun(
        ai.headwater.v1.CancelWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelWorkflowRunMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Goes on with a failed or cancelled run: steps that failed, were cancelled, or were skipped because of those, start
     * over; completed ones keep their results. OK for a run that runs. FAILED_PRECONDITION, reason RUN_STATE, for a
     * completed one.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<ai.headwater.v1.ResumeWorkflowRunResponse> resumeWorkflowRun(
        ai.headwater.v1.ResumeWorkflowRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getResumeWorkflowRunMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_VALIDATE_WORKFLOW = 0;
  private static final int METHODID_EXECUTE_WORKFLOW = 1;
  private static final int METHODID_START_WORKFLOW_RUN = 2;
  private static final int METHODID_WATCH_WORKFLOW_RUN = 3;
  private static final int METHODID_GET_WORKFLOW_RUN = 4;
  private static final int METHODID_LIST_WORKFLOW_RUNS = 5;
  private static final int METHODID_CANCEL_WORKFLOW_RUN = 6;
  private static final int METHODID_RESUME_WORKFLOW_RUN = 7;

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
        case METHODID_VALIDATE_WORKFLOW:
          serviceImpl.validateWorkflow((ai.headwater.v1.ValidateWorkflowRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.ValidateWorkflowResponse>) responseObserver);
          break;
        case METHODID_EXECUTE_WORKFLOW:
          serviceImpl.executeWorkflow((ai.headwater.v1.ExecuteWorkflowRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.WorkflowEvent>) responseObserver);
          break;
        case METHODID_START_WORKFLOW_RUN:
          serviceImpl.startWorkflowRun((ai.headwater.v1.StartWorkflowRunRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.StartWorkflowRunResponse>) responseObserver);
          break;
        case METHODID_WATCH_WORKFLOW_RUN:
          serviceImpl.watchWorkflowRun((ai.headwater.v1.WatchWorkflowRunRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.WorkflowEvent>) responseObserver);
          break;
        case METHODID_GET_WORKFLOW_RUN:
          serviceImpl.getWorkflowRun((ai.headwater.v1.GetWorkflowRunRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.GetWorkflowRunResponse>) responseObserver);
          break;
        case METHODID_LIST_WORKFLOW_RUNS:
          serviceImpl.listWorkflowRuns((ai.headwater.v1.ListWorkflowRunsRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.ListWorkflowRunsResponse>) responseObserver);
          break;
        case METHODID_CANCEL_WORKFLOW_RUN:
          serviceImpl.cancelWorkflowRun((ai.headwater.v1.CancelWorkflowRunRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.CancelWorkflowRunResponse>) responseObserver);
          break;
        case METHODID_RESUME_WORKFLOW_RUN:
          serviceImpl.resumeWorkflowRun((ai.headwater.v1.ResumeWorkflowRunRequest) request,
              (io.grpc.stub.StreamObserver<ai.headwater.v1.ResumeWorkflowRunResponse>) responseObserver);
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
          getValidateWorkflowMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.ValidateWorkflowRequest,
              ai.headwater.v1.ValidateWorkflowResponse>(
                service, METHODID_VALIDATE_WORKFLOW)))
        .addMethod(
          getExecuteWorkflowMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              ai.headwater.v1.ExecuteWorkflowRequest,
              ai.headwater.v1.WorkflowEvent>(
                service, METHODID_EXECUTE_WORKFLOW)))
        .addMethod(
          getStartWorkflowRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.StartWorkflowRunRequest,
              ai.headwater.v1.StartWorkflowRunResponse>(
                service, METHODID_START_WORKFLOW_RUN)))
        .addMethod(
          getWatchWorkflowRunMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              ai.headwater.v1.WatchWorkflowRunRequest,
              ai.headwater.v1.WorkflowEvent>(
                service, METHODID_WATCH_WORKFLOW_RUN)))
        .addMethod(
          getGetWorkflowRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.GetWorkflowRunRequest,
              ai.headwater.v1.GetWorkflowRunResponse>(
                service, METHODID_GET_WORKFLOW_RUN)))
        .addMethod(
          getListWorkflowRunsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.ListWorkflowRunsRequest,
              ai.headwater.v1.ListWorkflowRunsResponse>(
                service, METHODID_LIST_WORKFLOW_RUNS)))
        .addMethod(
          getCancelWorkflowRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.CancelWorkflowRunRequest,
              ai.headwater.v1.CancelWorkflowRunResponse>(
                service, METHODID_CANCEL_WORKFLOW_RUN)))
        .addMethod(
          getResumeWorkflowRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              ai.headwater.v1.ResumeWorkflowRunRequest,
              ai.headwater.v1.ResumeWorkflowRunResponse>(
                service, METHODID_RESUME_WORKFLOW_RUN)))
        .build();
  }

  private static abstract class WorkflowServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    WorkflowServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return ai.headwater.v1.WorkflowServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("WorkflowService");
    }
  }

  private static final class WorkflowServiceFileDescriptorSupplier
      extends WorkflowServiceBaseDescriptorSupplier {
    WorkflowServiceFileDescriptorSupplier() {}
  }

  private static final class WorkflowServiceMethodDescriptorSupplier
      extends WorkflowServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    WorkflowServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (WorkflowServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new WorkflowServiceFileDescriptorSupplier())
              .addMethod(getValidateWorkflowMethod())
              .addMethod(getExecuteWorkflowMethod())
              .addMethod(getStartWorkflowRunMethod())
              .addMethod(getWatchWorkflowRunMethod())
              .addMethod(getGetWorkflowRunMethod())
              .addMethod(getListWorkflowRunsMethod())
              .addMethod(getCancelWorkflowRunMethod())
              .addMethod(getResumeWorkflowRunMethod())
              .build();
        }
      }
    }
    return result;
  }
}
