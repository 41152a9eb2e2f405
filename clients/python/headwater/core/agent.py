"""The agent, under the path `headwater.core.agent`."""

from headwater.agent import Agent, AgentResponse, AgentStream, Image

__all__ = ["Agent", "AgentResponse", "AgentStream", "Image"]
